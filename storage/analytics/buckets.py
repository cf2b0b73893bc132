"""Buckets of time: minutes, hours, days from midnight UTC, weeks from Monday."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from models import ids

SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
DEFAULT_BUCKETS = {"minute": 60, "hour": 48, "day": 30, "week": 26}
MOST_BUCKETS = 2_000
_MONDAY = 4 * 86_400
"""1970 began on a Thursday."""


class TooManyBuckets(ValueError):
    """A series of so many points is of no use to anybody."""


class Window(NamedTuple):
    """Whole buckets: from the beginning of the first to the end of the last, in seconds since
    1970."""

    bucket: str
    first: int
    end: int

    @classmethod
    def of(cls, bucket: str, since: str | None, until: str | None, now: str) -> "Window":
        """The buckets that a range touches; up to now, and so many, where it is open. Raises
        `TooManyBuckets`."""
        width = SECONDS[bucket]
        last = _start(bucket, _seconds(until or now, before=until is not None))
        if since is None:
            first = max(0, last - (DEFAULT_BUCKETS[bucket] - 1) * width)
            first = _start(bucket, first)
        else:
            first = _start(bucket, _seconds(since))
        if (last - first) // width >= MOST_BUCKETS:
            raise TooManyBuckets
        return cls(bucket, first, last + width)

    @property
    def since(self) -> str:
        """Where the first bucket begins."""
        return ids.timestamp(max(0, self.first) * 1_000_000)

    @property
    def until(self) -> str:
        """Where the last bucket ends."""
        return ids.timestamp(min(self.end * 1_000_000, ids.MAX_MICROSECONDS))

    def starts(self) -> Iterator[tuple[int, str]]:
        """The beginning of each bucket, in seconds since 1970 and as RFC 3339."""
        for start in range(self.first, self.end, SECONDS[self.bucket]):
            yield start, ids.timestamp(start * 1_000_000)


def _seconds(moment: str, *, before: bool = False) -> int:
    """The second of a moment, or of the one before it."""
    time_us = ids.time_us(datetime.fromisoformat(moment))
    return (time_us - before) // 1_000_000


def _start(bucket: str, seconds: int) -> int:
    width = SECONDS[bucket]
    shift = _MONDAY if bucket == "week" else 0
    return (seconds - shift) // width * width + shift
