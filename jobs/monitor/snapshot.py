"""One snapshot of the three tiers: what health, figures, alerts and the pipeline are made from."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from jobs.consistency import reports
from models.message import Durability, Tier
from storage.availability.progress import Progress, ProgressWatch
from storage.clickhouse import direct_writes
from storage.errors import TierError, TierUnavailable
from storage.postgres.backlog import outstanding
from storage.postgres.driver import translated
from storage.postgres.retention_status import RetentionState, last_run
from storage.redis.driver import translated as redis_translated
from storage.redis.server import durability_of
from storage.resilience import budget
from storage.resilience.breaker import BreakerState
from storage.tiers import Tiers

MOST_ASKED = 16
"""Questions at a time, of four snapshots: threads are made where none is idle."""


class TierStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One tier as this process sees it. A tier that is available and has a reason answers, but did
    not say what was asked of it."""

    available: bool
    breaker: BreakerState
    latency_ms: float | None = None
    reason: str | None = None


class Snapshot(msgspec.Struct, kw_only=True, frozen=True):
    """The tiers at a moment, `at` in seconds since 1970. What its tier did not say is None.

    `durability` is that of Redis, `pending` counts its log. PostgreSQL's counts are those of
    `Outstanding`. `to_bring_home` counts what ClickHouse took in place of PostgreSQL.
    """

    at: float
    tiers: dict[Tier, TierStatus]
    progress: Progress
    durability: Durability | None = None
    pending: int | None = None
    oldest_pending_seconds: float | None = None
    looked_seconds: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    outbox: int | None = None
    oldest_outbox_seconds: float | None = None
    redis_lacks: int | None = None
    dead_letters: int | None = None
    oldest_dead_letter_seconds: float | None = None
    acknowledged_lost: int | None = None
    archive_stopped: int | None = None
    checks_running: int | None = None
    erasures_unfinished: int | None = None
    retention: RetentionState | None = None
    data_consistency_score: float | None = None
    data_consistency_age_seconds: float | None = None
    to_bring_home: int | None = None


class Snapshotter:
    """Takes snapshots for one process. Pings pass the breakers, so a tier that is down costs
    nothing; counts do not: a slow count is no reason to keep writers from a tier."""

    def __init__(self, tiers: Tiers, progress: ProgressWatch) -> None:
        self._tiers = tiers
        self._server = tiers.clickhouse_within(tiers.settings.clickhouse_timeout_seconds)
        self._pool = ThreadPoolExecutor(MOST_ASKED, "snapshot")
        self.progress = progress

    def take(self) -> Snapshot:
        """Asks all tiers at the same time. Raises nothing for a tier that is down."""
        own = self._tiers
        asks: dict[Tier, tuple[Callable[[], None], Callable[[], dict[str, Any]]]] = {
            "redis": (own.redis.ping, self._redis),
            "postgresql": (own.postgres.ping, self._postgres),
            "clickhouse": (own.clickhouse.ping, self._clickhouse),
        }
        seconds = budget.left()
        progress = self._pool.submit(self.progress.judge)
        asked = {tier: self._pool.submit(self._ask, tier, *asks[tier], seconds) for tier in asks}
        found = {tier: future.result() for tier, future in asked.items()}
        tiers = {tier: status for tier, (status, _) in found.items()}
        facts = {name: value for _, known in found.values() for name, value in known.items()}
        return Snapshot(at=time.time(), tiers=tiers, progress=progress.result(), **facts)

    def _ask(
        self,
        tier: Tier,
        ping: Callable[[], None],
        ask: Callable[[], dict[str, Any]],
        seconds: float,
    ) -> tuple[TierStatus, dict[str, Any]]:
        latency_ms, reason, facts, is_up = None, None, {}, True
        breaker = self._tiers.breakers.of(tier)
        started = time.perf_counter()
        with budget.within(seconds):
            try:
                ping()
                latency_ms = round((time.perf_counter() - started) * 1000, 3)
                facts = ask()
            except TierError as error:
                reason = error.reason
                # It may have turned this one question away, and answer others.
                is_passing = isinstance(error, TierUnavailable) and not error.is_ambiguous
                is_up = latency_ms is not None or (breaker.is_closed and is_passing)
        state = breaker.state()
        status = TierStatus(available=is_up, breaker=state, latency_ms=latency_ms, reason=reason)
        return status, facts

    def _redis(self) -> dict[str, Any]:
        own = self._tiers
        # By Redis's own clock, which stamps the entries.
        log = own.pending_log.status()
        with redis_translated():
            memory: Any = own.redis_client.info("memory")
        return {
            "durability": durability_of(own.redis_door),
            "pending": sum(own.pending_log.backlog()),
            "oldest_pending_seconds": log.waiting_seconds,
            "looked_seconds": log.polled_seconds,
            "memory_bytes": int(memory["used_memory"]),
            "memory_limit_bytes": int(memory.get("maxmemory", 0)),
        }

    def _postgres(self) -> dict[str, Any]:
        with translated(), self._tiers.operator_engine.connect() as connection:
            found = outstanding(connection)
            retention, last = last_run(connection), reports.last_score(connection)
        return {
            **found._asdict(),
            "retention": retention,
            "data_consistency_score": last.score if last else None,
            "data_consistency_age_seconds": last.age_seconds if last else None,
        }

    def _clickhouse(self) -> dict[str, Any]:
        return {"to_bring_home": direct_writes.count_direct_writes(self._server)}
