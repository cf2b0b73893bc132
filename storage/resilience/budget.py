"""One deadline that everything a request does shares: every wait is the shorter of a call's own
deadline and what is left of the request's. Jobs have none."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import TierUnavailable

REQUEST_SECONDS = 4.0
"""An answer is promised within 5 s: the rest is for a busy machine, and for the network."""

LEAST_SECONDS = 0.05
"""With less than this left nothing more is begun: it would only be cut off."""

LARGE_BYTES = 128 * 1024
"""Of a call that moves more, being late says little of its tier."""

SLOWEST_BYTES = 512 * 1024
"""A second: what a tier that is well takes at least of large calls."""

NO_TIME = "no time was left to ask it"


class _Mine(threading.local):
    """This thread's. The threads it starts have none: they outlive the request."""

    until = math.inf
    granted = 0.0


_mine = _Mine()


def begin(seconds: float = REQUEST_SECONDS) -> None:
    """Gives what this thread does from now on so many seconds."""
    _mine.until = time.monotonic() + seconds


def end() -> None:
    """Gives this thread as long as it takes again."""
    _mine.until = math.inf


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Gives the block so many seconds, or fewer where fewer are left."""
    before = _mine.until
    _mine.until = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _mine.until = before


@contextmanager
def moving(size: int) -> Iterator[None]:
    """Gives each call of the block longer than its own deadline, by how many bytes it moves."""
    before, _mine.granted = _mine.granted, size / SLOWEST_BYTES
    try:
        yield
    finally:
        _mine.granted = before


def left() -> float:
    """How many seconds are left; infinity for a job."""
    return _mine.until - time.monotonic()


def bounded(seconds: float) -> float:
    """The shorter of a call's own deadline and what is left; never 0, which drivers take for no
    deadline."""
    seconds += _mine.granted
    if _mine.until == math.inf:
        return seconds
    return max(0.001, min(seconds, left()))


def is_spent() -> bool:
    """Whether so little is left that nothing more is begun."""
    return left() < LEAST_SECONDS


def check(tier: str, seconds: float = 0.0) -> None:
    """Raises `TierUnavailable` where no time is left after so many seconds: a matter of this call
    alone."""
    if left() < seconds + LEAST_SECONDS:
        raise TierUnavailable(tier, NO_TIME, passing=True, tried=False)


def sleep(tier: str, seconds: float) -> None:
    """Waits that long. Raises `TierUnavailable` at once where less is left."""
    check(tier, seconds)
    time.sleep(max(0.0, seconds))


@contextmanager
def taking(lock: threading.Lock, tier: str) -> Iterator[None]:
    """Holds a lock. Raises `TierUnavailable` where it is not free in time."""
    seconds = left()
    if not lock.acquire(timeout=-1 if seconds == math.inf else max(0.0, seconds)):
        raise TierUnavailable(tier, NO_TIME, passing=True, tried=False)
    try:
        yield
    finally:
        lock.release()
