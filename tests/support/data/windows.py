"""Plain windows, for whoever judges without servers."""

from bisect import bisect_left

from jobs.monitor.snapshot import Snapshot, TierStatus
from storage.availability.progress import Progress
from storage.resilience.breaker import BreakerState
from storage.telemetry.counts import BOUNDS_SECONDS, Counts

NOW = 1_000_000.0
"""The beginning of a window."""


def window(ms: float, writes: int = 20, **others: float) -> Counts:
    """A window in which each of so many writes took so many milliseconds."""
    under = f"answers:under:{bisect_left(BOUNDS_SECONDS, ms / 1000)}"
    numbers = {"answers:calls": writes, "answers:seconds": writes * ms / 1000, under: writes}
    return Counts({**numbers, "writes": writes, "acknowledged:redis": writes, **others})


def windows(*taken_ms: float, until: float = NOW) -> dict[int, Counts]:
    """One after the other, the last of which ends at a moment."""
    last = int(until // 2) - 1
    return {last - ago: window(ms) for ago, ms in enumerate(reversed(taken_ms))}


def snapshot(**facts: object) -> Snapshot:
    """A snapshot that finds all well, but for what is given."""
    well = TierStatus(available=True, breaker=BreakerState(state="closed"), latency_ms=1.0)
    tiers = {"redis": well, "postgresql": well, "clickhouse": well}
    empty = Progress(True, "the log is empty")
    given = {"at": NOW, "tiers": tiers, "progress": empty, "pending": 0, "outbox": 0, **facts}
    return Snapshot(**given)  # type: ignore[arg-type]


def without(*tiers: str) -> Snapshot:
    """A snapshot that finds these tiers out."""
    out = TierStatus(available=False, breaker=BreakerState(state="open"), reason="gone")
    untold = {"redis": "pending", "postgresql": "outbox"}
    nothing = {untold[tier]: None for tier in tiers if tier in untold}
    return snapshot(tiers={**snapshot().tiers, **dict.fromkeys(tiers, out)}, **nothing)
