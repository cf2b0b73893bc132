"""When to send a request again, and after which pause."""

import random
from dataclasses import dataclass

from threadkeep_client.errors import PASSING, ApiError, ThreadkeepError


@dataclass(frozen=True)
class Retries:
    """Up to `attempts` in all. The pauses double from `first_seconds` up to `longest_seconds`, and
    each is drawn anew below that (full jitter), so that clients do not come back all at once. What
    `Retry-After` asks for is added, unless it is over `patience_seconds`: then nothing is retried.
    """

    attempts: int = 8
    first_seconds: float = 0.25
    longest_seconds: float = 8.0
    patience_seconds: float = 60.0


ONCE = Retries(attempts=1)
MOST_DOUBLINGS = 16


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._failed = 0

    @property
    def is_repeat(self) -> bool:
        """Whether one has failed before."""
        return self._failed > 0

    def begin_anew(self) -> None:
        """Counts from the start: something has worked meanwhile."""
        self._failed = 0

    def pause_after(self, failure: ThreadkeepError) -> float:
        """Seconds to wait before the next attempt. Raises the failure where there is none."""
        is_last = self._failed + 1 >= self._retries.attempts
        is_too_long = _asked_seconds(failure) > self._retries.patience_seconds
        if not isinstance(failure, PASSING) or is_last or is_too_long:
            raise failure
        return self.next_pause(failure)

    def next_pause(self, failure: ThreadkeepError) -> float:
        """Seconds to wait after one more failure, however many there were."""
        doubled = self._retries.first_seconds * 2 ** min(self._failed, MOST_DOUBLINGS)
        self._failed += 1
        jitter = random.uniform(0, min(doubled, self._retries.longest_seconds))
        return _asked_seconds(failure) + jitter


def _asked_seconds(failure: ThreadkeepError) -> float:
    """What `Retry-After` asks for."""
    asked = failure.retry_after if isinstance(failure, ApiError) else None
    return asked or 0.0
