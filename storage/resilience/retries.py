"""Work that outlasts a lock, a restart or a moment without an answer."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from storage.errors import TierUnavailable

Result = TypeVar("Result")
log = structlog.get_logger(__name__)

ATTEMPTS = 40
PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 2.0


def retry_until_available(
    work: Callable[..., Result],
    *arguments: object,
    attempts: int = ATTEMPTS,
    event: str = "recovery_waits",
    pause: Callable[[float], object] = time.sleep,
) -> Result:
    """Does it again after a pause, as long as the tier may come back: some 70 seconds, unless
    there are other `attempts`. Each pause is logged as `event`."""
    pause_seconds = PAUSE_SECONDS
    for _ in range(attempts - 1):
        try:
            return work(*arguments)
        except TierUnavailable as error:
            log.info(event, tier=error.tier, reason=error.reason)
            pause(pause_seconds)
            pause_seconds = min(LONGEST_PAUSE_SECONDS, pause_seconds * 2)
    return work(*arguments)
