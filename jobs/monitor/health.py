"""A snapshot as `/health/persistence` shows it: each tier's state, and what waits behind it."""

from typing import Any

import msgspec

from jobs.monitor.snapshot import Snapshot
from models.message import Tier
from storage.availability.checks.finding import Finding
from storage.availability.checks.safety import SafetyVerdict
from storage.availability.progress import Progress
from storage.postgres.retention_status import RetentionState
from storage.resilience.breaker import BreakerState
from storage.telemetry.counts import rounded


class TierState(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One tier: whether it answers, how fast, what it promises, and what waits behind it.

    `waiting` of Redis is what is not yet in PostgreSQL, of PostgreSQL what is not yet in
    ClickHouse. `redis_lacks` counts what PostgreSQL took while Redis was down and Redis lacks,
    `to_bring_home` what ClickHouse took and PostgreSQL does not have yet. `acknowledged_lost`
    counts what a Redis whose disk was lost took along before it was persisted, `archive_stopped`
    the partitions that cannot be archived because the tiers differ. `retention` says when policies
    were last applied, where there are any, `erasures_unfinished` of how many users some tier may
    still hold what is to go.
    """

    available: bool
    breaker: BreakerState
    latency_ms: float | None = None
    reason: str | None = None
    durability: str | None = None
    waiting: int | None = None
    oldest_waiting_seconds: float | None = None
    dead_letters: int | None = None
    redis_lacks: int | None = None
    acknowledged_lost: int | None = None
    archive_stopped: int | None = None
    to_bring_home: int | None = None
    oldest_dead_letter_seconds: float | None = None
    retention: RetentionState | None = None
    erasures_unfinished: int | None = None


class PersistenceHealth(msgspec.Struct, kw_only=True, frozen=True):
    """`status` is `ok` when every tier answers, every promise holds and the log moves on.

    `data_consistency_score` is that of the last check of everything, None before the first, and
    how long ago it ended. `refusals` say why no process would start with this, `weaker` which
    promises do not hold.
    """

    status: str
    tiers: dict[Tier, TierState]
    progress: Progress
    data_consistency_score: float | None = None
    data_consistency_age_seconds: float | None = None
    refusals: list[Finding] = []
    weaker: list[Finding] = []


def persistence_health(seen: Snapshot, verdict: SafetyVerdict) -> PersistenceHealth:
    """A snapshot, and what a judgement of the tiers' settings made at the same time found."""
    facts: dict[Tier, dict[str, Any]] = {
        "redis": {
            "durability": seen.durability,
            "waiting": seen.pending,
            "oldest_waiting_seconds": rounded(seen.oldest_pending_seconds),
        },
        "postgresql": {
            "durability": "committed",
            "waiting": seen.outbox,
            "oldest_waiting_seconds": rounded(seen.oldest_outbox_seconds),
            "dead_letters": seen.dead_letters,
            "oldest_dead_letter_seconds": rounded(seen.oldest_dead_letter_seconds),
            "redis_lacks": seen.redis_lacks,
            "acknowledged_lost": seen.acknowledged_lost,
            "archive_stopped": seen.archive_stopped,
            "retention": seen.retention,
            "erasures_unfinished": seen.erasures_unfinished,
        },
        "clickhouse": {"durability": "archived", "to_bring_home": seen.to_bring_home},
    }
    tiers = {tier: _state(tier, seen, facts[tier]) for tier in facts}
    durable = seen.durability == "fsynced" and not verdict.refusals + verdict.weaker
    is_well = durable and seen.progress.is_ok and all(one.available for one in tiers.values())
    return PersistenceHealth(
        status="ok" if is_well else "degraded",
        tiers=tiers,
        progress=seen.progress,
        data_consistency_score=seen.data_consistency_score,
        data_consistency_age_seconds=rounded(seen.data_consistency_age_seconds),
        refusals=verdict.refusals,
        weaker=verdict.weaker,
    )


def _state(tier: Tier, seen: Snapshot, facts: dict[str, Any]) -> TierState:
    """A tier that did not say all that was asked is not available here: nobody can rely on it."""
    one = seen.tiers[tier]
    if one.reason is not None:
        return TierState(available=False, breaker=one.breaker, reason=one.reason)
    return TierState(available=True, breaker=one.breaker, latency_ms=one.latency_ms, **facts)
