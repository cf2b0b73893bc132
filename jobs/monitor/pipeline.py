"""The road of a message as figures: tiers, the arrows between them, and the last ten minutes."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from jobs.monitor.alerts.state import DEGRADATION, AlertState
from jobs.monitor.snapshot import Snapshot, TierStatus
from jobs.monitor.windows import SHOWN_WINDOWS, WINDOW_SECONDS, window_of
from storage.availability.progress import Progress
from storage.telemetry.counts import TIERS, Counts, total

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


class Stage(msgspec.Struct, kw_only=True, frozen=True):
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
    windows: Mapping[int, Counts], look: Snapshot, standing: AlertState, now: float
) -> PipelineStatus:
    """The road at a moment."""
    arrows = _arrows(_last_point(windows, now), look, standing)
    is_well = (
        all(tier.available for tier in look.tiers.values())
        and all(arrow.state == "ok" for arrow in arrows)
        and look.progress.is_ok
    )
    return PipelineStatus(
        at=now,
        status="ok" if is_well else "degraded",
        tiers={tier: _tier(tier, look) for tier in TIERS},
        arrows=arrows,
        series=_series(windows, now),
        data_consistency_score=look.data_consistency_score,
        dead_letters=look.dead_letters,
        progress=look.progress,
    )


def _last_point(windows: Mapping[int, Counts], now: float) -> Counts:
    newest = window_of(now)
    return total(windows[at] for at in range(newest - POINT_WINDOWS, newest) if at in windows)


def _tier(name: str, look: Snapshot) -> RoadTier:
    seen: TierStatus = look.tiers[name]
    is_redis = name == "redis"
    return RoadTier(
        available=seen.available,
        breaker=seen.breaker.state,
        latency_ms=seen.latency_ms,
        memory_bytes=look.memory_bytes if is_redis else None,
        memory_limit_bytes=look.memory_limit_bytes if is_redis else None,
    )


def _arrows(last: Counts, look: Snapshot, standing: AlertState) -> list[Stage]:
    up = {name: tier.available for name, tier in look.tiers.items()}
    is_slow = bool(standing.active.keys() & {DEGRADATION, "latency_p95"})

    def state(needs: tuple[str, ...], age: float | None = None, *, slow: bool = False) -> State:
        if not all(up[tier] for tier in needs):
            return "stopped"
        return "slow" if slow or (age or 0.0) > SLOW_SECONDS else "ok"

    log_age, outbox_age = look.oldest_pending_seconds, look.oldest_outbox_seconds
    persist = state(("redis", "postgresql"), log_age)
    return [
        Stage(
            name="acknowledge",
            start="client",
            to="redis",
            per_second=_rate(last["acknowledged:redis"]),
            waiting=None,
            oldest_waiting_seconds=None,
            state=state(("redis",), slow=is_slow),
            p50_ms=_rounded(last.quantile_ms(0.5)),
            p95_ms=_rounded(last.quantile_ms(0.95)),
        ),
        Stage(
            name="persist",
            start="redis",
            to="postgresql",
            per_second=_rate(last["persisted"]),
            waiting=look.pending,
            oldest_waiting_seconds=_rounded(log_age),
            state=persist if look.progress.is_ok else "stopped",
        ),
        Stage(
            name="replicate",
            start="postgresql",
            to="clickhouse",
            per_second=_rate(last["replicated"]),
            waiting=look.outbox,
            oldest_waiting_seconds=_rounded(outbox_age),
            state=state(("postgresql", "clickhouse"), outbox_age),
        ),
        Stage(
            name="archive",
            start="postgresql",
            to="clickhouse",
            per_second=_rate(last["archived"]),
            waiting=None,
            oldest_waiting_seconds=None,
            state="stopped" if look.archive_stopped else state(("postgresql", "clickhouse")),
        ),
        _detour("postgresql", last, look.redis_lacks, state(("postgresql",))),
        _detour("clickhouse", last, look.to_bring_home, state(("clickhouse",))),
    ]


def _detour(tier: str, last: Counts, waiting: int | None, state: State) -> Stage:
    """What is written beside Redis; `waiting` is what Redis, or PostgreSQL, was not told yet."""
    return Stage(
        name=f"detour_{tier}",
        start="client",
        to=tier,
        per_second=_rate(last[f"acknowledged:{tier}"]),
        waiting=waiting,
        oldest_waiting_seconds=None,
        state=state,
    )


def _series(windows: Mapping[int, Counts], now: float) -> RoadSeries:
    """Whole points only: one that is not over would look like a fall."""
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
        p50_ms=[_rounded(one.quantile_ms(0.5)) for one in points],
        p95_ms=[_rounded(one.quantile_ms(0.95)) for one in points],
    )


def _rate(count: float) -> float:
    return round(count / POINT_SECONDS, 2)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
