"""Work in bites: no more bytes at once than whoever gets them can take in the time there is."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

One = TypeVar("One")

LEAST_BYTES = 4 * 1024
"""Of a bite, when larger ones took too long; one thing goes whatever its size."""


class Bite:
    """How many bytes are taken at once: fewer after what took too long, then more again."""

    def __init__(self, most: int) -> None:
        self._most = self.bytes = most

    def shrink_batch(self) -> None:
        """Has bites be half as large as they were."""
        self.bytes = max(LEAST_BYTES, self.bytes // 2)

    def grow_batch(self) -> None:
        """Has them be larger again."""
        self.bytes = min(self._most, self.bytes * 2)

    def of(self, things: Sequence[One], sizes: Sequence[int]) -> Sequence[One]:
        """The first bite of some things."""
        return next((part for part, _ in bites(things, sizes, self.bytes)), things)


def batches(things: Iterable[One], count: int) -> Iterator[list[One]]:
    """Things in lists of at most so many, in order."""
    left = iter(things)
    while batch := list(islice(left, count)):
        yield batch


def bites(
    things: Sequence[One], sizes: Sequence[int], most: int
) -> Iterator[tuple[Sequence[One], int]]:
    """Things in parts, in order, each with its bytes: at most so many, or one thing."""
    first = size = 0
    for at, own in enumerate(sizes):
        if at > first and size + own > most:
            yield things[first:at], size
            first, size = at, 0
        size += own
    if first < len(things):
        yield things[first:], size
