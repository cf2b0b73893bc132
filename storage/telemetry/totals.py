"""What one process counted, as plain numbers: the difference of two is what happened between."""

import msgspec
from prometheus_client import Counter, Histogram

from models.message import Tier


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one process alone. Everything only grows.

    `acknowledged` counts messages, threads and states, `writes` the calls that brought them, which
    took `seconds` in sum. `buckets` has as many writes as took no longer than the bound, in
    seconds, at the same place of `bounds`; the last bound is infinite.
    """

    acknowledged: dict[Tier, int]
    refused: int
    failed_over: int
    writes: int
    seconds: float
    bounds: list[float]
    buckets: list[int]
    persisted: int
    replicated: int
    archived: int


def total(metric: Counter | Histogram, suffix: str = "_total", **labels: str) -> float:
    """The sum over all children of a metric that have these labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )


def cumulative(metric: Histogram) -> tuple[list[float], list[int]]:
    """The bounds of a histogram and, for each, how many were not above it, over all children."""
    counts: dict[float, int] = {}
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0) + int(sample.value)
    bounds = sorted(counts)
    return bounds, [counts[bound] for bound in bounds]
