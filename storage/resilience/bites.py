"""Batches by number or bytes: no more at once than a tier can take in the time there is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from typing import TypeVar

from storage.errors import TierUnavailable

One = TypeVar("One")

LEAST_BYTES = 4 * 1024
"""Of a batch, when larger ones took too long; a single thing goes whatever its size."""


PAGE_BYTES = 2 * 1024 * 1024
"""Of a page of messages, whatever their number, and of what a tier gives at once for it."""

FIRST_NAMES = 25
"""So many messages, of 80 KiB at most each, are about `PAGE_BYTES`."""
LARGE_PAGE = 101
"""A page of more messages may take a tier long, which says nothing of how well it is."""


class Bite:
    """How much is taken at once, in bytes or rows: less after what took too long, then more
    again."""

    def __init__(self, most: int, least: int = LEAST_BYTES) -> None:
        self._most = self.size = most
        self._least = min(least, most)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """The block takes a batch; where its tier may have found that too large, later ones are
        smaller. Raises what the block raises."""
        try:
            yield
        except TierUnavailable as error:
            if error.tried:
                self.shrink_batch()
            raise

    def shrink_batch(self, tried: int | None = None) -> None:
        """Halves later batches, or makes them half of what was tried."""
        self.size = max(self._least, (self.size if tried is None else tried) // 2)

    def grow_batch(self) -> None:
        """Doubles later batches, up to the most."""
        self.size = min(self._most, self.size * 2)

    def of(self, things: Sequence[One], sizes: Sequence[int]) -> Sequence[One]:
        """The first batch of some things."""
        return next((part for part, _ in bites(things, sizes, self.size)), things)


def first_page(things: Sequence[One], size_of: Callable[[One], int]) -> Sequence[One]:
    """The first things that have `PAGE_BYTES` together, or one thing."""
    return next(sized_batches(things, size_of, PAGE_BYTES), [])


def read_within(
    names: Sequence[str], read: Callable[[Sequence[str]], Sequence[bytes | None]], most: float
) -> tuple[list[bytes | None], bool]:
    """What `read` gives for each name, but no more once there are over `most` bytes, and whether
    some were left out. Of many names, whose sizes are not known, a few are read first."""
    found: list[bytes | None] = []
    left, count = most, FIRST_NAMES if len(names) > LARGE_PAGE else LARGE_PAGE
    while len(found) < len(names) and left >= 0:
        some = read(names[len(found) : len(found) + count])
        size = sum(len(one or b"") for one in some)
        left -= size
        count = int(min(LARGE_PAGE, 1 + max(0, left) * len(some) / max(1, size)))
        found += some
    return found, len(found) < len(names)


def batches(things: Iterable[One], count: int) -> Iterator[list[One]]:
    """Things in lists of at most so many, in order."""
    left = iter(things)
    while batch := list(islice(left, count)):
        yield batch


def sized_batches(
    things: Iterable[One], size_of: Callable[[One], int], most: int, count: int | None = None
) -> Iterator[list[One]]:
    """Things in lists, in order, each of at most `most` bytes, or one thing, and of at most
    `count`."""
    batch: list[One] = []
    left = most
    for thing in things:
        size = size_of(thing)
        if batch and (size > left or len(batch) == count):
            yield batch
            batch, left = [], most
        batch.append(thing)
        left -= size
    if batch:
        yield batch


def bites(
    things: Sequence[One], sizes: Sequence[int], most: int
) -> Iterator[tuple[Sequence[One], int]]:
    """Things in parts, in order, each with its bytes: at most so many, or one thing."""
    for part in sized_batches(zip(things, sizes, strict=True), itemgetter(1), most):
        yield [thing for thing, _ in part], sum(size for _, size in part)
