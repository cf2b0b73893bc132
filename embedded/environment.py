"""What a server gets of the environment of whoever starts it."""

import os

# What a program needs to start. A server must not get the secrets of other programs that may be in
# the caller's environment.
_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
_KEPT_PREFIXES = ("LC_", "LD_", "PYTHON")


def environment() -> dict[str, str]:
    """Return the part of this process's environment that a server gets."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
