"""How the storage performs, as figures: each tier's calls, slow statements and rates."""

from collections.abc import Mapping

import msgspec

from jobs.monitor.windows import WINDOW_SECONDS, latest
from storage.telemetry.counts import TIERS, Counts, rounded

LAST_WINDOWS = 30
"""A minute."""


class TierPerformance(msgspec.Struct, kw_only=True, frozen=True):
    """Calls of requests and polls, without bulk. Latencies are null where there was no call."""

    calls: int
    avg_ms: float | None
    p95_ms: float | None
    slow_queries: int


class StoragePerformance(msgspec.Struct, kw_only=True, frozen=True):
    """The last minute of all processes together; rates are per second."""

    seconds: int
    tiers: dict[str, TierPerformance]
    acknowledged_per_second: float
    refused_per_second: float
    failed_over_per_second: float
    persisted_per_second: float
    replicated_per_second: float
    avg_ms: float | None
    p95_ms: float | None


def storage_performance(windows: Mapping[int, Counts], now: float) -> StoragePerformance:
    """The figures of the windows that are over."""
    last, seconds = latest(windows, now, LAST_WINDOWS), LAST_WINDOWS * WINDOW_SECONDS
    names = ("refused", "failed_over", "persisted", "replicated")
    counts = {"acknowledged": last.acknowledged, **{name: last[name] for name in names}}
    rates = {f"{name}_per_second": round(count / seconds, 3) for name, count in counts.items()}
    return StoragePerformance(
        seconds=seconds,
        tiers={tier: _of_tier(last, tier) for tier in TIERS},
        **rates,
        avg_ms=rounded(last.average_ms()),
        p95_ms=rounded(last.quantile_ms(0.95)),
    )


def _of_tier(last: Counts, tier: str) -> TierPerformance:
    return TierPerformance(
        calls=int(last[f"{tier}:calls"]),
        avg_ms=rounded(last.average_ms(tier)),
        p95_ms=rounded(last.quantile_ms(0.95, tier)),
        slow_queries=int(last[f"{tier}:slow"]),
    )
