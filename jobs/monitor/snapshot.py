"""One look at the three tiers, each asked once and all at the same time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from sqlalchemy import Engine, text

from jobs.consistency import reports
from storage.availability.probes import Breakers
from storage.availability.progress import Progress, ProgressWatch
from storage.clickhouse import direct_writes
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError
from storage.postgres.backlog import outstanding
from storage.postgres.driver import translated
from storage.redis.driver import RedisGateway
from storage.redis.pending_log import PendingLog
from storage.resilience.breaker import Breaker, BreakerState
from storage.telemetry.counts import TIERS


class TierStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One tier as this process sees it."""

    available: bool
    breaker: BreakerState
    latency_ms: float | None = None
    reason: str | None = None


class Snapshot(msgspec.Struct, kw_only=True, frozen=True):
    """What was seen; None of what no tier could tell. `at` is seconds since 1970."""

    at: float
    tiers: dict[str, TierStatus]
    progress: Progress
    pending: int | None = None
    oldest_pending_seconds: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    outbox: int | None = None
    oldest_outbox_seconds: float | None = None
    dead_letters: int | None = None
    redis_lacks: int | None = None
    archive_stopped: int | None = None
    data_consistency_score: float | None = None
    to_bring_home: int | None = None


class Snapshotter:
    """One process's way of looking. Passes the breakers: a tier that is out costs nothing."""

    def __init__(
        self,
        door: RedisGateway,
        log: PendingLog,
        engine: Engine,
        server: ClickHouse,
        breakers: Breakers,
        progress: ProgressWatch,
    ) -> None:
        self._door = door
        self._log = log
        self._engine = engine
        self._server = server
        self._breakers = breakers
        self._progress = progress

    def watch(self) -> None:
        """Has this process see how the log stands: whether that moves only several looks tell."""
        self._progress.judge()

    def look(self, *, is_thorough: bool = False) -> Snapshot:
        """Looks at all of them. Raises nothing for a tier that is out.

        How fast each answers, and what waits in ClickHouse to be brought home, takes a question
        more to each, and is told where it is to be thorough.
        """
        own = self._breakers
        asks = (
            (own.redis, self._ping_redis if is_thorough else None, self._redis),
            (own.postgresql, self._ping_postgres if is_thorough else None, self._postgres),
            (own.clickhouse, self._server.ping, self._clickhouse if is_thorough else _nothing),
        )
        with ThreadPoolExecutor(len(asks), "look") as pool:
            progress = pool.submit(self._progress.judge)
            found = list(pool.map(lambda ask: _seen(*ask), asks))
        tiers = {tier: seen for tier, (seen, _) in zip(TIERS, found, strict=True)}
        facts = {name: value for _, told in found for name, value in told.items()}
        return Snapshot(at=time.time(), tiers=tiers, progress=progress.result(), **facts)

    def _ping_redis(self) -> None:
        with self._door.guarded() as client:
            client.ping()

    def _redis(self) -> dict[str, Any]:
        # By Redis's own clock, which stamps the entries.
        standing = self._log.standing()
        with self._door.guarded() as client:
            memory: Any = client.info("memory")
        return {
            "pending": sum(self._log.backlog()),
            "oldest_pending_seconds": standing.waiting_seconds,
            "memory_bytes": int(memory["used_memory"]),
            "memory_limit_bytes": int(memory.get("maxmemory", 0)),
        }

    def _ping_postgres(self) -> None:
        with translated(), self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def _postgres(self) -> dict[str, Any]:
        with self._breakers.postgresql.guard(), translated(), self._engine.connect() as connection:
            found = outstanding(connection)
            last = reports.last_score(connection)
        return {
            "outbox": found.outbox,
            "oldest_outbox_seconds": found.outbox_seconds,
            "dead_letters": found.dead_letters,
            "redis_lacks": found.redis_lacks,
            "archive_stopped": found.archive_stopped,
            "data_consistency_score": last.score if last else None,
        }

    def _clickhouse(self) -> dict[str, Any]:
        with self._breakers.clickhouse.guard():
            return {"to_bring_home": direct_writes.count_direct_writes(self._server)}


def _nothing() -> dict[str, Any]:
    return {}


def _seen(
    breaker: Breaker, ping: Callable[[], None] | None, facts: Callable[[], dict[str, Any]]
) -> tuple[TierStatus, dict[str, Any]]:
    latency_ms = None
    try:
        if ping is not None:
            started = time.perf_counter()
            with breaker.guard():
                ping()
            latency_ms = round((time.perf_counter() - started) * 1000, 3)
        told = facts()
    except TierError as error:
        if breaker.is_closed and not error.is_ambiguous:
            # It turned this one question away, and answers others.
            return TierStatus(available=True, breaker=breaker.state(), reason=error.reason), {}
        return TierStatus(available=False, breaker=breaker.state(), reason=error.reason), {}
    return TierStatus(available=True, breaker=breaker.state(), latency_ms=latency_ms), told
