"""Users nobody else has, so that tests on shared servers do not see each other's data."""

import itertools
import secrets

_RUN = secrets.token_hex(4)
_NUMBERS = itertools.count()


def fresh_user() -> str:
    """A user id that was never given before, in this run or another."""
    return f"user-{_RUN}-{next(_NUMBERS)}"
