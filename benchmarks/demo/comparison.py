"""Compares the messages read back with those of the source. Pure, no I/O."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Thread = TypeVar("Thread", bound=Hashable)


class Tally(NamedTuple):
    """Counts of messages: right, missing, doubled, and different."""

    verified: int = 0
    missing: int = 0
    doubled: int = 0
    different: int = 0

    @property
    def wrong(self) -> int:
        """All that are wrong."""
        return self.missing + self.doubled + self.different

    def plus(self, other: "Tally") -> "Tally":
        """The sum of both."""
        return Tally(*(mine + its for mine, its in zip(self, other, strict=True)))


def compare(given: Sequence[Hashable], found: Sequence[Hashable]) -> Tally:
    """Compares one thread, in order. A message in the wrong place is different."""
    if list(given) == list(found):
        return Tally(verified=len(given))
    lost = Counter(given) - Counter(found)
    surplus = Counter(found) - Counter(given)
    known = set(given)
    doubled = sum(count for one, count in surplus.items() if one in known)
    strange = surplus.total() - doubled
    # A changed message counts as one missing and one unknown.
    changed = min(lost.total(), strange)
    missing = lost.total() - changed
    moved = 0
    if not lost and not surplus:
        moved = sum(one != other for one, other in zip(given, found, strict=True))
    different = changed + (strange - changed) + moved
    return Tally(len(given) - missing - changed - moved, missing, doubled, different)


def compare_all(
    given: Mapping[Thread, Sequence[Hashable]], found: Mapping[Thread, Sequence[Hashable]]
) -> Tally:
    """Compares every thread of either side."""
    tally = Tally()
    for thread in given.keys() | found.keys():
        tally = tally.plus(compare(given.get(thread, ()), found.get(thread, ())))
    return tally
