"""How PostgreSQL, which refuses to run as root, runs when the stack does."""

import os
import pwd
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import StackError

UNPRIVILEGED_USER = "nobody"
# From linux/capability.h.
_REACHING = {"dac_read_search": 2, "dac_override": 1}
_SETPCAP = 8


@dataclass(frozen=True)
class RunAs:
    """The account for PostgreSQL: the caller's own, or `nobody` if the caller is root."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, folder: Path) -> None:
        """Give a folder to the account."""
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)


def account() -> RunAs:
    """Return whom PostgreSQL runs as.

    Raises:
        StackError: The caller is root, and there is no way to become somebody else.
    """
    if os.geteuid() != 0:
        return RunAs()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "PostgreSQL does not run as root and setpriv (util-linux) is missing: install it, "
            "start as an ordinary user, or set DATABASE_URL to a server of your own"
        )
    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise StackError(
            f"PostgreSQL does not run as root and there is no user {UNPRIVILEGED_USER}: "
            "start as an ordinary user, or set DATABASE_URL to a server of your own"
        ) from None
    return RunAs(_command(setpriv, user), user.pw_uid, user.pw_gid)


def _command(setpriv: str, user: pwd.struct_passwd) -> tuple[str, ...]:
    """Return the command prefix that drops root.

    One capability stays, if there is one to keep: to read and search folders, or where that is
    missing, as in most containers, to override their modes. Without it a checkout below a private
    folder (/root, or one made by mktemp) could not be reached, and opening such folders to
    everybody is not ours to do. The secure bit is what makes access(2), with which PostgreSQL
    looks for its own files, honour that capability. The death signal is set here once more
    because the kernel clears it with the change of user.
    """
    identity = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    kept = next((name for name, bit in _REACHING.items() if _holds(bit)), None)
    if kept is None or not _holds(_SETPCAP):
        return (setpriv, *identity, "--no-new-privs")
    return (
        setpriv,
        *identity,
        f"--inh-caps=-all,+{kept}",
        f"--ambient-caps=-all,+{kept}",
        f"--bounding-set=-all,+{kept}",
        "--securebits=+no_setuid_fixup",
        "--no-new-privs",
    )


def _holds(bit: int) -> bool:
    """Whether this process has a capability, by its number in capabilities(7)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> bit & 1)
    return False


def wrap(run_as: RunAs, command: tuple[str, ...], death_signal: signal.Signals) -> tuple[str, ...]:
    """Return the command line that runs `command` as that account."""
    if not run_as.prefix:
        return command
    return (*run_as.prefix, "--pdeathsig", death_signal.name.removeprefix("SIG"), "--", *command)
