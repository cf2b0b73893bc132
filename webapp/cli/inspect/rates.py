"""What happened a second: two scrapes of one address, subtracted."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple, Self

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from storage.telemetry.counts import TIERS, quantile_ms, rounded

Labels = frozenset[tuple[str, str]]


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per second, over the last so many seconds. `cache_hits` is the share of reads that Redis
    answered alone; it and the latencies are None where nothing happened."""

    seconds: float
    acknowledged: dict[str, float]
    refused: float
    failed_over: float
    persisted: float
    replicated: float
    archived: float
    reads: float
    cache_hits: float | None
    requests: float
    requests_failed: float
    p50_ms: float | None
    p95_ms: float | None
    sockets: int


class Scrape(NamedTuple):
    """Values by name and labels, and when they were, by any one clock, in seconds."""

    at: float
    values: dict[tuple[str, Labels], float]

    @classmethod
    def of(cls, text: str, at: float) -> Self:
        """What Prometheus's text says."""
        return cls(
            at,
            {
                (one.name, frozenset(one.labels.items())): one.value
                for family in text_string_to_metric_families(text)
                for one in family.samples
            },
        )

    def total(self, name: str, **labels: str) -> float:
        """The sum of everything of a name that has these labels."""
        wanted = labels.items()
        return sum(
            value
            for (known, given), value in self.values.items()
            if known == f"threadkeep_{name}" and wanted <= set(given)
        )

    def buckets(self, name: str) -> Counter[float]:
        """How many were not above each bound, over all labels."""
        found: Counter[float] = Counter()
        for (known, given), value in self.values.items():
            if known == f"threadkeep_{name}_bucket":
                found[float(dict(given)["le"])] += int(value)
        return found


def rates(before: Scrape, after: Scrape) -> Rates:
    """What happened between two scrapes. A count that began again meanwhile counts as nothing."""
    seconds = max(1e-3, after.at - before.at)

    def rate(name: str, **labels: str) -> float:
        happened = after.total(name, **labels) - before.total(name, **labels)
        return round(max(0.0, happened) / seconds, 3)

    reads = rate("read_seconds_count")
    hits = rate("read_seconds_count", source="redis")
    bounds = after.buckets("acknowledgement_seconds")
    bounds.subtract(before.buckets("acknowledgement_seconds"))
    return Rates(
        seconds=round(seconds, 3),
        acknowledged={tier: rate("acknowledged_total", tier=tier) for tier in TIERS},
        refused=rate("refused_total"),
        failed_over=rate("failed_over_total"),
        persisted=rate("persisted_total"),
        replicated=rate("replicated_total"),
        archived=rate("archived_total"),
        reads=reads,
        cache_hits=round(min(1.0, hits / reads), 4) if reads else None,
        requests=rate("http_requests_total"),
        requests_failed=rate("http_requests_total", status="5xx"),
        p50_ms=quantile(bounds, 0.5),
        p95_ms=quantile(bounds, 0.95),
        sockets=int(after.total("sockets_open")),
    )


def quantile(buckets: Counter[float], share: float) -> float | None:
    """Milliseconds that this share did not exceed, of what Prometheus counts up to each bound."""
    bounds = sorted(buckets)
    under = [buckets[at] - buckets[low] for low, at in pairwise([float("-inf"), *bounds])]
    return rounded(quantile_ms(under, share, bounds[:-1]))
