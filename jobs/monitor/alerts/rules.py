"""What is worth an alert: one function, from what was seen to what is wrong with it."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from jobs.monitor.alerts.baseline import ENOUGH_NOW, LatencyComparison
from jobs.monitor.snapshot import Snapshot
from settings import Settings

SUCCESS_PERCENT = 99.9
FAILOVER_PERCENT = 0.1
CONSISTENCY_PERCENT = 100.0
MEMORY_PERCENT = 80.0

HYSTERESIS = 0.9
"""Of its bound must a figure be whose alert stands, before that is over: else one that goes up and
down at its bound would be told each time."""

PRIORITIES = {
    "tier_unavailable": ("P0", "P1"),
    "no_progress": ("P0",),
    "persistence_success_rate": ("P0",),
    "data_consistency_score": ("P0",),
    "performance_degradation": ("P1",),
    "latency_p95": ("P1",),
    "failover_frequency": ("P1",),
    "backlog_age": ("P1",),
    "redis_memory": ("P1",),
    "dead_letters": ("P1",),
}
"""Every type there is."""

RAISE_IMMEDIATELY = frozenset({"tier_unavailable", "no_progress"})
RAISE_AFTER = {"performance_degradation": 4}
"""How many evaluations in a row must agree before an alert is raised; 2 where nothing is said.
What is averaged over some windows is looked at until none of them is from before."""
CLEAR_AFTER = 2
"""How many must agree that it is over."""


class Condition(NamedTuple):
    """Something that is wrong. `subject` tells two of one type apart, as the tier does."""

    type: str
    priority: str
    detail: str
    figures: Mapping[str, float | str]
    subject: str = ""

    @property
    def key(self) -> str:
        """What stays the same while this is wrong."""
        return f"{self.type}:{self.subject}" if self.subject else self.type


class Judgement(NamedTuple):
    """What is wrong, and which types nobody could judge."""

    findings: list[Condition]
    unknown: frozenset[str]


def judge(
    settings: Settings, pace: LatencyComparison, look: Snapshot, standing: Collection[str] = ()
) -> Judgement:
    """Everything that is wrong at a moment, where these keys of findings stand already."""

    def eased(bound: float, key: str) -> float:
        return bound * HYSTERESIS if key in standing else bound

    p95_ms = eased(settings.alert_p95_ms, "latency_p95")
    slow = HYSTERESIS if "performance_degradation" in standing else 1.0
    findings = [
        *_unavailable(look),
        *_progress(look),
        *_degraded(settings, pace, slow),
        *_late(settings, pace, p95_ms),
        *_refused(pace),
        *_failed_over(pace),
        *_waiting(settings, look),
        *_inconsistent(look),
        *_memory(look, eased(MEMORY_PERCENT, "redis_memory")),
        *_letters(look),
    ]
    return Judgement(findings, frozenset(_unknown(look)))


def _unknown(look: Snapshot) -> Iterator[str]:
    """What could not be asked, be its tier out or only busy: nothing of that is over."""
    if look.outbox is None:
        yield from ("data_consistency_score", "dead_letters", "backlog_age")
    if look.pending is None:
        yield from ("redis_memory", "backlog_age")


def _unavailable(look: Snapshot) -> list[Condition]:
    return [
        Condition(
            "tier_unavailable",
            "P1" if tier == "clickhouse" else "P0",
            f"{tier} does not answer: {one.reason}",
            {"tier": tier, "reason": one.reason or ""},
            tier,
        )
        for tier, one in look.tiers.items()
        if not one.available
    ]


def _progress(look: Snapshot) -> list[Condition]:
    if look.progress.is_ok:
        return []
    return [Condition("no_progress", "P0", look.progress.detail, {})]


def _degraded(settings: Settings, pace: LatencyComparison, share: float) -> list[Condition]:
    before, now, least = pace.baseline_ms, pace.current_ms, pace.least_ms
    if before is None or now is None or least is None:
        return []
    bound = max(before + settings.alert_degradation_ms, before * settings.alert_degradation_ratio)
    if least < max(bound * share, before):
        return []
    percent = (now / before - 1) * 100 if before else 0.0
    figures: dict[str, float | str] = {
        "baseline_avg_ms": round(before, 3),
        "current_avg_ms": round(now, 3),
        "degradation_percent": round(percent, 1),
    }
    detail = f"an acknowledgement takes {now:.1f} ms, and took {before:.1f} ms before"
    return [Condition("performance_degradation", "P1", detail, figures)]


def _late(settings: Settings, pace: LatencyComparison, bound_ms: float) -> list[Condition]:
    p95 = pace.now.quantile_ms(0.95)
    if p95 is None or pace.now.answers < ENOUGH_NOW or p95 <= bound_ms:
        return []
    figures: dict[str, float | str] = {"p95_ms": round(p95, 1), "limit_ms": settings.alert_p95_ms}
    detail = f"one acknowledgement in twenty takes more than {p95:.0f} ms"
    return [Condition("latency_p95", "P1", detail, figures)]


def _refused(pace: LatencyComparison) -> list[Condition]:
    refused, taken = int(pace.now["refused"]), pace.now.writes
    rate = 100 * taken / (taken + refused) if refused else 100.0
    if rate >= SUCCESS_PERCENT:
        return []
    figures: dict[str, float | str] = {
        "success_rate_percent": round(rate, 3),
        "refused": refused,
        "acknowledged": taken,
    }
    detail = f"{refused} of {taken + refused} writes were not acknowledged"
    return [Condition("persistence_success_rate", "P0", detail, figures)]


def _failed_over(pace: LatencyComparison) -> list[Condition]:
    moved, taken = int(pace.now["failed_over"]), pace.now.writes
    percent = 100 * moved / max(taken, moved, 1)
    if percent <= FAILOVER_PERCENT:
        return []
    figures: dict[str, float | str] = {
        "failover_percent": round(percent, 3),
        "failed_over": moved,
        "acknowledged": taken,
    }
    detail = f"{moved} of {max(taken, moved)} writes went to another tier than the first"
    return [Condition("failover_frequency", "P1", detail, figures)]


def _waiting(settings: Settings, look: Snapshot) -> list[Condition]:
    limit = settings.alert_backlog_seconds
    waits = (
        ("log", "PostgreSQL", look.pending, look.oldest_pending_seconds),
        ("outbox", "ClickHouse", look.outbox, look.oldest_outbox_seconds),
    )
    return [
        Condition(
            "backlog_age",
            "P1",
            f"the oldest of {count} entries of the {name} has waited {age:.0f} s for {where}",
            {"backlog": name, "waiting": count or 0, "oldest_waiting_seconds": round(age, 1)},
            name,
        )
        for name, where, count, age in waits
        if age is not None and age > limit
    ]


def _inconsistent(look: Snapshot) -> list[Condition]:
    score = look.data_consistency_score
    if score is None or score >= CONSISTENCY_PERCENT:
        return []
    detail = f"the last check of everything found the tiers to differ: {score:g} %"
    figures: dict[str, float | str] = {"data_consistency_score": score}
    return [Condition("data_consistency_score", "P0", detail, figures)]


def _memory(look: Snapshot, bound: float) -> list[Condition]:
    used, limit = look.memory_bytes, look.memory_limit_bytes
    if not used or not limit or 100 * used / limit <= bound:
        return []
    percent = round(100 * used / limit, 1)
    figures: dict[str, float | str] = {
        "used_percent": percent,
        "memory_bytes": used,
        "memory_limit_bytes": limit,
    }
    return [Condition("redis_memory", "P1", f"Redis uses {percent} % of its memory", figures)]


def _letters(look: Snapshot) -> list[Condition]:
    count = look.dead_letters
    if not count:
        return []
    detail = f"PostgreSQL refused {count} writes, which wait for a decision"
    return [Condition("dead_letters", "P1", detail, {"dead_letters": count})]
