"""The state of the tiers and of the road between them, as figures."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import text

from jobs.consistency import reports
from storage.availability.checks.finding import Finding
from storage.availability.checks.safety import judge
from storage.availability.progress import Progress, ProgressWatch
from storage.clickhouse import direct_writes
from storage.errors import TierError
from storage.postgres.driver import translated
from storage.postgres.retention_status import RetentionState, last_run
from storage.redis.server import durability_of
from storage.resilience.breaker import Breaker, BreakerState
from storage.tiers import Tiers

_OUTBOX = text(
    "SELECT count(*), extract(epoch FROM clock_timestamp() - min(queued_at)) FROM clickhouse_outbox"
)
_DEAD_LETTERS = text(
    "SELECT count(*), extract(epoch FROM clock_timestamp() - min(refused_at)) FROM dead_letters"
)
_LOST = text("SELECT count(*) FROM lost_acknowledgements")
_ARCHIVE_STOPPED = text("SELECT count(*) FROM archive_units WHERE state = 'stopped'")
_ERASURES = text("SELECT count(*) FROM user_erasures WHERE finished_at IS NULL")
_BACKFILL = text("SELECT count(*) FROM redis_backfill")


class TierState(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One tier: whether it answers, how fast, what it promises, and what waits behind it.

    `redis_lacks` counts what PostgreSQL took beside Redis and Redis was not told yet,
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
    tiers: dict[str, TierState]
    progress: Progress
    data_consistency_score: float | None = None
    data_consistency_age_seconds: float | None = None
    refusals: list[Finding] = []
    weaker: list[Finding] = []


def persistence_health(own: Tiers, watch: ProgressWatch) -> PersistenceHealth:
    """Looks at every tier; what does not answer is named with its reason.

    `waiting` of Redis is what is not yet in PostgreSQL, of PostgreSQL what is not yet in
    ClickHouse.
    """
    breakers = own.breakers
    tiers = {
        "redis": _look(breakers.redis, own.redis.ping, lambda: _redis(own)),
        "postgresql": _look(breakers.postgresql, own.postgres.ping, lambda: _postgres(own)),
        "clickhouse": _look(breakers.clickhouse, own.clickhouse.ping, lambda: _clickhouse(own)),
    }
    verdict = judge(own)
    durable = tiers["redis"].durability == "fsynced" and not verdict.refusals + verdict.weaker
    progress = watch.judge()
    healthy = durable and progress.is_ok and all(tier.available for tier in tiers.values())
    last = _last_score(own) if tiers["postgresql"].available else None
    return PersistenceHealth(
        status="ok" if healthy else "degraded",
        tiers=tiers,
        progress=progress,
        data_consistency_score=last.score if last else None,
        data_consistency_age_seconds=round(last.age_seconds, 3) if last else None,
        refusals=verdict.refusals,
        weaker=verdict.weaker,
    )


def _look(
    breaker: Breaker, ping: Callable[[], None], facts: Callable[[], dict[str, Any]]
) -> TierState:
    started = time.perf_counter()
    try:
        ping()
        latency_ms = round((time.perf_counter() - started) * 1000, 3)
        found = facts()
    except TierError as error:
        return TierState(available=False, breaker=breaker.state(), reason=error.reason)
    return TierState(available=True, breaker=breaker.state(), latency_ms=latency_ms, **found)


def _redis(own: Tiers) -> dict[str, Any]:
    standing = own.pending_log.standing()
    return {
        "durability": durability_of(own.redis_door),
        "waiting": sum(own.pending_log.backlog()),
        "oldest_waiting_seconds": _seconds(standing.waiting_seconds),
    }


def _postgres(own: Tiers) -> dict[str, Any]:
    with translated(), own.request_engine.connect() as connection:
        waiting, age = connection.execute(_OUTBOX).one()
        letters, letter_age = connection.execute(_DEAD_LETTERS).one()
        redis_lacks = connection.execute(_BACKFILL).scalar_one()
        lost = connection.execute(_LOST).scalar_one()
        archive_stopped = connection.execute(_ARCHIVE_STOPPED).scalar_one()
        unfinished = connection.execute(_ERASURES).scalar_one()
        retention = last_run(connection)
    return {
        "durability": "committed",
        "waiting": waiting,
        "oldest_waiting_seconds": _seconds(age),
        "dead_letters": letters,
        "oldest_dead_letter_seconds": _seconds(letter_age),
        "redis_lacks": redis_lacks,
        "acknowledged_lost": lost,
        "archive_stopped": archive_stopped,
        "retention": retention,
        "erasures_unfinished": unfinished,
    }


def _clickhouse(own: Tiers) -> dict[str, Any]:
    return {
        "durability": "archived",
        "to_bring_home": direct_writes.count_direct_writes(own.job_clickhouse),
    }


def _last_score(own: Tiers) -> reports.LastScore | None:
    try:
        with translated(), own.request_engine.connect() as connection:
            return reports.last_score(connection)
    except TierError:
        return None


def _seconds(age: Any) -> float | None:
    return None if age is None else round(float(age), 3)
