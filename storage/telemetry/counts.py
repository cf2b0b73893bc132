"""Counts by name that can be added and subtracted, field by field also in Redis; latencies are kept
as counts below bounds."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from models.message import Tier

TIERS: tuple[Tier, ...] = get_args(Tier)

ANSWERS = "answers"

BOUNDS_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03,
    0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""Upper bounds of what is counted together, closest where acknowledgements are; one more count
takes what is above all of them."""


class Counts(dict[str, float]):
    """Numbers by name; what is missing is zero.

    `acknowledged:<tier>` counts the messages and states that each tier took, `writes` the calls
    that brought them; `refused` and `failed_over` are writes too, `refusals:<kind>` calls without
    leave, `persisted`, `replicated` and `archived` messages and rows, `<tier>:slow` slow
    statements. Of what is timed, `<name>:calls` counts the calls, `<name>:seconds` is what they
    took together, and `<name>:under:<n>` how many
    took no longer than bound n, but longer than the one before it. Names are those of the tiers,
    for calls to them, and `answers`, for messages from their request to their acknowledgement.
    """

    def __missing__(self, name: str) -> float:
        return 0

    def __add__(self, other: Mapping[str, float]) -> "Counts":
        return Counts({name: self[name] + other.get(name, 0) for name in {**self, **other}})

    def since(self, earlier: Mapping[str, float]) -> "Counts":
        """What was added since an earlier moment."""
        grown = {name: value - earlier.get(name, 0) for name, value in self.items()}
        return Counts({name: value for name, value in grown.items() if value > 0})

    @property
    def writes(self) -> int:
        """Calls that were acknowledged."""
        return int(self["writes"])

    @property
    def acknowledged(self) -> int:
        """Messages and states that any tier took."""
        return int(sum(self[f"acknowledged:{tier}"] for tier in TIERS))

    @property
    def answers(self) -> int:
        """Acknowledgements whose time was taken."""
        return int(self[f"{ANSWERS}:calls"])

    def average_ms(self, of: str = ANSWERS) -> float | None:
        """Milliseconds of an acknowledgement, or of a call to the tier named; None of nothing."""
        count = self[f"{of}:calls"]
        return self[f"{of}:seconds"] / count * 1000 if count else None

    def quantile_ms(self, share: float, of: str = ANSWERS) -> float | None:
        """Milliseconds that this share of them stayed below, as near as the bounds allow."""
        under = [self[f"{of}:under:{at}"] for at in range(len(BOUNDS_SECONDS) + 1)]
        return quantile_ms(under, share)


def quantile_ms(
    under: Sequence[float], share: float, bounds: Sequence[float] = BOUNDS_SECONDS
) -> float | None:
    """Milliseconds that this share stayed below, evenly spread within a bucket; None of nothing.

    `under` counts what lies at or below each bound, in seconds, and above the one before it; the
    last counts what lies above all of them, and gives the last bound.
    """
    left = share * sum(under)
    if left <= 0:
        return None
    low = 0.0
    for bound, count in zip(bounds, under, strict=False):
        if left <= count:
            return (low + (bound - low) * left / count) * 1000
        left -= count
        low = bound
    return low * 1000


def rounded(value: float | None) -> float | None:
    """To a thousandth, where there is anything."""
    return None if value is None else round(value, 3)


def total(several: Iterable[Mapping[str, float]]) -> Counts:
    """All of them added up."""
    numbers: dict[str, float] = {}
    for one in several:
        for name, value in one.items():
            numbers[name] = numbers.get(name, 0) + value
    return Counts(numbers)


class Latencies:
    """How long calls of one kind took since the process began.

    Two threads that count in the same instant may lose one, which is cheaper than a lock in every
    call.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.under = [0] * (len(BOUNDS_SECONDS) + 1)

    def note(self, seconds: float) -> None:
        """Counts one call."""
        self.calls += 1
        self.seconds += seconds
        self.under[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    def totals(self, of: str) -> dict[str, float]:
        """All of it under the names that `Counts` has for what is timed."""
        under = {f"{of}:under:{at}": count for at, count in enumerate(self.under)}
        return {f"{of}:calls": self.calls, f"{of}:seconds": self.seconds, **under}
