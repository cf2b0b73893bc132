"""How long a committed state stays in Redis."""

import time
from datetime import datetime
from typing import NamedTuple

GRACE_SECONDS = 60
"""A state that has expired stays for so long, unseen: whoever rests on the version before it still
finds that there is a newer one."""


class Lifetime(NamedTuple):
    """A committed version, and when it expires, if ever."""

    version: int
    expires_at: str | None


def seconds_to_stay(expires_at: str | None, hot_seconds: int) -> int:
    """For as long as it is valid; what never expires stays as long as messages do."""
    if expires_at is None:
        return hot_seconds
    left = datetime.fromisoformat(expires_at).timestamp() - time.time()
    return max(0, int(left)) + GRACE_SECONDS
