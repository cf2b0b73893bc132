"""The pipeline as figures: tiers, the stages between them, and the last ten minutes."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from jobs.monitor.alerts.state import DEGRADATION, AlertState
from jobs.monitor.snapshot import Snapshot
from jobs.monitor.windows import SHOWN_WINDOWS, WINDOW_SECONDS, latest, window_of
from models.message import Tier
from storage.availability.progress import Progress
from storage.telemetry.counts import TIERS, Counts, rounded, total

POINT_WINDOWS = 5
POINT_SECONDS = POINT_WINDOWS * WINDOW_SECONDS
SLOW_SECONDS = 5.0
"""What waits longer for the next tier is slow to get there."""

State = Literal["ok", "slow", "stopped"]


class RoadTier(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A tier as the process that was asked sees it; the breaker is `closed` or `open`."""

    available: bool
    breaker: str
    latency_ms: float | None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None


class Stage(msgspec.Struct, frozen=True):
    """A way from one place to another: how much goes along it, and how much waits to. `p50_ms` and
    `p95_ms` are there where the latency of each is known."""

    name: str
    start: str = msgspec.field(name="from")
    to: str
    per_second: float
    waiting: int | None
    oldest_waiting_seconds: float | None
    state: State
    p50_ms: float | msgspec.UnsetType | None = msgspec.UNSET
    p95_ms: float | msgspec.UnsetType | None = msgspec.UNSET


class RoadSeries(msgspec.Struct, kw_only=True, frozen=True):
    """Ten minutes, a point for each ten seconds, `at` its beginning in seconds since 1970. Counts
    are per second; latencies are null where nothing was acknowledged."""

    at: list[int]
    acknowledged: list[float]
    refused: list[float]
    failed_over: list[float]
    p50_ms: list[float | None]
    p95_ms: list[float | None]


class PipelineStatus(msgspec.Struct, kw_only=True, frozen=True):
    """All of it. `status` is `ok` where every tier answers and nothing is slow or stopped; `at` is
    seconds since 1970."""

    at: float
    status: Literal["ok", "degraded"]
    tiers: dict[str, RoadTier]
    arrows: list[Stage]
    series: RoadSeries
    data_consistency_score: float | None
    dead_letters: int | None
    progress: Progress


def road(
    windows: Mapping[int, Counts], seen: Snapshot, alerts: AlertState, now: float
) -> PipelineStatus:
    """The pipeline at a moment."""
    stages = _stages(latest(windows, now, POINT_WINDOWS), seen, alerts)
    is_well = (
        all(tier.available for tier in seen.tiers.values())
        and all(stage.state == "ok" for stage in stages)
        and seen.progress.is_ok
    )
    return PipelineStatus(
        at=now,
        status="ok" if is_well else "degraded",
        tiers={tier: _tier(tier, seen) for tier in TIERS},
        arrows=stages,
        series=_series(windows, now),
        data_consistency_score=seen.data_consistency_score,
        dead_letters=seen.dead_letters,
        progress=seen.progress,
    )


def _tier(name: Tier, seen: Snapshot) -> RoadTier:
    one, is_redis = seen.tiers[name], name == "redis"
    return RoadTier(
        available=one.available,
        breaker=one.breaker.state,
        latency_ms=one.latency_ms,
        memory_bytes=seen.memory_bytes if is_redis else None,
        memory_limit_bytes=seen.memory_limit_bytes if is_redis else None,
    )


def _stages(last: Counts, seen: Snapshot, alerts: AlertState) -> list[Stage]:
    log_age, outbox_age = seen.oldest_pending_seconds, seen.oldest_outbox_seconds
    is_late = bool(alerts.active.keys() & {DEGRADATION, "latency_p95"})

    def stage(
        name: str,
        start: Tier | Literal["client"],
        to: Tier,
        counted: str,
        waiting: int | None = None,
        age: float | None = None,
        *,
        slow: bool = False,
        stopped: bool = False,
    ) -> Stage:
        is_up = all(tier == "client" or seen.tiers[tier].available for tier in (start, to))
        is_slow = slow or (age is not None and age > SLOW_SECONDS)
        state: State = "stopped" if stopped or not is_up else "slow" if is_slow else "ok"
        return Stage(name, start, to, _rate(last[counted]), waiting, rounded(age), state)

    first = stage("acknowledge", "client", "redis", "acknowledged:redis", slow=is_late)
    p50_ms, p95_ms = (rounded(last.quantile_ms(share)) for share in (0.5, 0.95))
    # Writes that bypass Redis; what waits is what Redis, or PostgreSQL, lacks of them.
    beside = ("acknowledged:postgresql", "acknowledged:clickhouse")
    is_stuck, archive_stopped = not seen.progress.is_ok, bool(seen.archive_stopped)
    waiting, queued = seen.pending, seen.outbox
    return [
        msgspec.structs.replace(first, p50_ms=p50_ms, p95_ms=p95_ms),
        stage("persist", "redis", "postgresql", "persisted", waiting, log_age, stopped=is_stuck),
        stage("replicate", "postgresql", "clickhouse", "replicated", queued, outbox_age),
        stage("archive", "postgresql", "clickhouse", "archived", stopped=archive_stopped),
        stage("detour_postgresql", "client", "postgresql", beside[0], seen.redis_lacks),
        stage("detour_clickhouse", "client", "clickhouse", beside[1], seen.to_bring_home),
    ]


def _series(windows: Mapping[int, Counts], now: float) -> RoadSeries:
    """Whole points only: one that is not over would show as a fall."""
    newest = window_of(now) // POINT_WINDOWS
    starts = range(newest - SHOWN_WINDOWS // POINT_WINDOWS, newest)
    points = [
        total(windows.get(at * POINT_WINDOWS + step, {}) for step in range(POINT_WINDOWS))
        for at in starts
    ]
    return RoadSeries(
        at=[at * POINT_SECONDS for at in starts],
        acknowledged=[_rate(one.acknowledged) for one in points],
        refused=[_rate(one["refused"]) for one in points],
        failed_over=[_rate(one["failed_over"]) for one in points],
        p50_ms=[rounded(one.quantile_ms(0.5)) for one in points],
        p95_ms=[rounded(one.quantile_ms(0.95)) for one in points],
    )


def _rate(count: float) -> float:
    return round(count / POINT_SECONDS, 2)
