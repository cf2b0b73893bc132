"""How long whoever asks still waits: one deadline that everything a request does shares.

Each tier has a deadline of its own for a call, and a request may need several of several tiers.
Were each given its own whole time, an answer would come after the sum. So a request has a moment
by which it is over, and every wait is the shorter of its own and what is left. Jobs have none.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import TierUnavailable

REQUEST_SECONDS = 4.0
"""An answer is promised within 5 s: the rest is for a machine that is busy, and for the network."""

LEAST_SECONDS = 0.05
"""With less than this left nothing more is begun, for it would only be cut off."""

LARGE_BYTES = 128 * 1024
"""A call that moves more takes its time, and being late says little of its tier."""

SLOWEST_BYTES = 512 * 1024
"""So many a second a tier takes at least that is well, of what is large."""

NO_TIME = "no time was left to ask it"


class _Mine(threading.local):
    """This thread's. What it starts has none: that goes on when the request is over."""

    until = math.inf
    granted = 0.0


_mine = _Mine()


def begin(seconds: float = REQUEST_SECONDS) -> None:
    """Has what this thread does from now on be over in so long."""
    _mine.until = time.monotonic() + seconds


def end() -> None:
    """Has this thread take its time again."""
    _mine.until = math.inf


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Has the block be over in so long, or sooner where it had less before."""
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
    """The shorter of a call's own deadline and what is left; never nothing, which drivers take for
    no deadline."""
    seconds += _mine.granted
    if _mine.until == math.inf:
        return seconds
    return max(0.001, min(seconds, left()))


def is_spent() -> bool:
    """Whether so little is left that nothing more is begun."""
    return left() < LEAST_SECONDS


def check(tier: str) -> None:
    """Raises `TierUnavailable` where nothing more is begun: a matter of this call alone."""
    if is_spent():
        raise TierUnavailable(tier, NO_TIME, passing=True, tried=False)


def sleep(tier: str, seconds: float) -> None:
    """Waits that long. Raises `TierUnavailable` at once where less is left."""
    if left() < seconds + LEAST_SECONDS:
        raise TierUnavailable(tier, NO_TIME, passing=True, tried=False)
    time.sleep(max(0.0, seconds))


@contextmanager
def taking(lock: threading.Lock, tier: str) -> Iterator[None]:
    """Holds a lock. Raises `TierUnavailable` where nobody gives it in time."""
    seconds = left()
    if not lock.acquire(timeout=-1 if seconds == math.inf else max(0.0, seconds)):
        raise TierUnavailable(tier, NO_TIME, passing=True, tried=False)
    try:
        yield
    finally:
        lock.release()
