"""A snapshot as figures, for `threadkeep stats` and Prometheus."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from jobs.monitor.alerts.state import Alert
from jobs.monitor.snapshot import Snapshot, TierStatus
from models.message import Tier
from storage.availability.progress import Progress


class TierFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a tier answers, how fast, and in how many seconds it did."""

    is_up: bool = msgspec.field(name="up")
    breaker: str
    seconds: float | None = None
    reason: str | None = None


class Queue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits somewhere, and for how many seconds the oldest of it has, where that is known."""

    entries: int
    oldest_seconds: float | None = None


class StoreFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The figures of a moment; those of a tier that is down are missing.

    `queues` are the `pending_log` of what is not in PostgreSQL yet, the `outbox` of what is not in
    ClickHouse yet, and what was written while a tier was down: `redis_backfill` and
    `direct_writes`. `alerts` counts those that fire, by type and priority.
    """

    progress: Progress
    tiers: dict[Tier, TierFigures]
    queues: dict[str, Queue]
    alerts: dict[str, dict[str, int]] = {}
    redis_memory_bytes: int | None = None
    redis_memory_limit_bytes: int | None = None
    look_seconds: float | None = None
    dead_letters: Queue | None = None
    acknowledged_lost: int | None = None
    checks_running: int | None = None
    data_consistency_score: float | None = None
    data_consistency_age_seconds: float | None = None


def figures(seen: Snapshot, firing: Iterable[Alert]) -> StoreFigures:
    """The figures of a snapshot, with the alerts that fire."""
    queues = {
        "pending_log": _queue(seen.pending, seen.oldest_pending_seconds or 0.0),
        "outbox": _queue(seen.outbox, seen.oldest_outbox_seconds or 0.0),
        "redis_backfill": _queue(seen.redis_lacks),
        "direct_writes": _queue(seen.to_bring_home),
    }
    alerts: dict[str, dict[str, int]] = {}
    for (kind, priority), count in Counter((one.type, one.priority) for one in firing).items():
        alerts.setdefault(kind, {})[priority] = count
    return StoreFigures(
        progress=seen.progress,
        tiers={tier: _tier(one) for tier, one in seen.tiers.items()},
        queues={name: queue for name, queue in queues.items() if queue is not None},
        alerts=alerts,
        redis_memory_bytes=seen.memory_bytes,
        redis_memory_limit_bytes=seen.memory_limit_bytes,
        look_seconds=seen.looked_seconds,
        dead_letters=_queue(seen.dead_letters, seen.oldest_dead_letter_seconds or 0.0),
        acknowledged_lost=seen.acknowledged_lost,
        checks_running=seen.checks_running,
        data_consistency_score=seen.data_consistency_score,
        data_consistency_age_seconds=seen.data_consistency_age_seconds,
    )


def _tier(one: TierStatus) -> TierFigures:
    seconds = None if one.latency_ms is None else one.latency_ms / 1000
    return TierFigures(one.available, one.breaker.state, seconds, one.reason)


def _queue(entries: int | None, oldest_seconds: float | None = None) -> Queue | None:
    return None if entries is None else Queue(entries, oldest_seconds)
