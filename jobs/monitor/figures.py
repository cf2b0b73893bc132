"""Figures of this moment that nobody counts: asked of the tiers when somebody wants to see them.

A tier that is out is left out, and keeps nobody waiting longer than its deadline once: then its
breaker is open. What is asked beside the ping passes no breaker: a figure that takes long is no
reason to keep writers from a tier.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from jobs.consistency import reports
from jobs.monitor.alerts.state import Alert
from models.message import Tier
from storage.availability.progress import Progress, ProgressWatch
from storage.clickhouse import direct_writes
from storage.errors import TierError
from storage.postgres.backlog import outstanding
from storage.postgres.driver import translated
from storage.redis.driver import translated as redis_translated
from storage.tiers import Tiers

HELD_SECONDS = 2.0
"""So long a look holds, however many scrape."""


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
    """What could be asked. Whatever only a tier knows that is out is missing.

    `queues` are the `pending_log` of what is not in PostgreSQL yet, the `outbox` of what is not in
    ClickHouse yet, and what was written beside a tier that was out: `redis_backfill` and
    `direct_writes`. `alerts` counts those that stand, by type and priority.
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


class FiguresWatch:
    """The figures, asked for anew when they are older than `HELD_SECONDS`."""

    def __init__(
        self, own: Tiers, progress: ProgressWatch, standing: Callable[[], Iterable[Alert]]
    ) -> None:
        """`standing` gives the alerts that stand."""
        self._tiers = own
        self._progress = progress
        self._standing = standing
        self._lock = threading.Lock()
        self._held: StoreFigures | None = None
        self._until = float("-inf")

    def look(self) -> StoreFigures:
        """The figures of now, or of a moment ago. Never raises."""
        with self._lock:
            if self._held is None or time.monotonic() >= self._until:
                self._held = figures(self._tiers, self._progress, self._standing)
                self._until = time.monotonic() + HELD_SECONDS
            return self._held


def figures(
    own: Tiers, watch: ProgressWatch, standing: Callable[[], Iterable[Alert]]
) -> StoreFigures:
    """Looks at every tier."""
    found: dict[str, Any] = {"queues": {}}
    looks: dict[Tier, tuple[Callable[[], None], Callable[[Tiers], dict[str, Any]]]] = {
        "redis": (own.redis.ping, _redis),
        "postgresql": (own.postgres.ping, _postgres),
        "clickhouse": (own.clickhouse.ping, _clickhouse),
    }
    tiers: dict[Tier, TierFigures] = {}
    for tier, (ping, ask) in looks.items():
        started = time.perf_counter()
        breaker = own.breakers.of(tier)
        try:
            ping()
        except TierError as error:
            tiers[tier] = TierFigures(False, breaker.state().state, reason=error.reason)
            continue
        seconds = time.perf_counter() - started
        reason = None
        try:
            facts = ask(own)
        except TierError as error:
            # It answers; only this it does not tell now.
            facts, reason = {}, error.reason
        found["queues"] |= facts.pop("queues", {})
        found |= facts
        tiers[tier] = TierFigures(True, breaker.state().state, seconds, reason)
    return StoreFigures(
        progress=watch.judge(),
        tiers=tiers,
        alerts=_alerts(standing()),
        **found,
    )


def _alerts(standing: Iterable[Alert]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for alert in standing:
        of_type = found.setdefault(alert.type, {})
        of_type[alert.priority] = of_type.get(alert.priority, 0) + 1
    return found


def _redis(own: Tiers) -> dict[str, Any]:
    standing = own.pending_log.standing()
    with redis_translated():
        memory: Any = own.redis_client.info("memory")
    waiting = Queue(sum(own.pending_log.backlog()), standing.oldest_seconds)
    return {
        "queues": {"pending_log": waiting},
        "look_seconds": standing.looked_seconds,
        "redis_memory_bytes": int(memory["used_memory"]),
        "redis_memory_limit_bytes": int(memory.get("maxmemory", 0)),
    }


def _postgres(own: Tiers) -> dict[str, Any]:
    with translated(), own.request_engine.connect() as connection:
        found = outstanding(connection)
        last = reports.last_score(connection)
    return {
        "queues": {
            "outbox": Queue(found.outbox, found.outbox_seconds or 0.0),
            "redis_backfill": Queue(found.redis_lacks),
        },
        "dead_letters": Queue(found.dead_letters, found.dead_letters_seconds or 0.0),
        "acknowledged_lost": found.acknowledged_lost,
        "checks_running": found.checks_running,
        "data_consistency_score": last.score if last else None,
        "data_consistency_age_seconds": last.age_seconds if last else None,
    }


def _clickhouse(own: Tiers) -> dict[str, Any]:
    server = own.clickhouse_within(own.settings.clickhouse_timeout_seconds)
    return {"queues": {"direct_writes": Queue(direct_writes.count_direct_writes(server))}}
