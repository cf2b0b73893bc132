"""What is worth an alert: one function, from what was seen to what is wrong with it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from jobs.monitor.alerts.baseline import ENOUGH_NOW, LatencyComparison
from jobs.monitor.snapshot import Snapshot
from settings import Settings

SUCCESS_PERCENT = 99.9
FAILOVER_PERCENT = 0.1
CONSISTENCY_PERCENT = 100.0
MEMORY_PERCENT = 80.0

HYSTERESIS = 0.9
"""Below this share of its bound must the figure of a firing alert be, before the alert is over:
else one that goes up and down at its bound would be reported each time."""

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
    "refusals": ("P1",),
}
"""Every type there is."""

RAISE_AFTER = {"tier_unavailable": 1, "no_progress": 1, "performance_degradation": 4}
"""How many evaluations in a row must agree before an alert is raised; 2 where nothing is said.
An average over several windows is judged until none of them is from before."""
CLEAR_AFTER = 2
"""How many must agree that it is over."""


class Condition(NamedTuple):
    """Something that is wrong. `subject` distinguishes two of one type, as a tier does."""

    type: str
    priority: str
    detail: str
    figures: Mapping[str, float | str]
    subject: str = ""

    @property
    def key(self) -> str:
        """What stays the same while this is wrong."""
        return key_of(self.type, self.subject)


class Judgement(NamedTuple):
    """What is wrong, and which types nobody could judge."""

    findings: list[Condition]
    unknown: frozenset[str]


def key_of(kind: str, subject: str) -> str:
    """What an alert is about, whichever instance it is."""
    return f"{kind}:{subject}" if subject else kind


def judge(
    settings: Settings, latency: LatencyComparison, seen: Snapshot, firing: Collection[str] = ()
) -> Judgement:
    """Everything that is wrong at a moment, where alerts of these keys fire already."""

    def share(key: str) -> float:
        return HYSTERESIS if key in firing else 1.0

    findings = [
        *_unavailable(seen),
        *_progress(seen),
        *_degraded(settings, latency, share("performance_degradation")),
        *_late(settings, latency, share("latency_p95")),
        *_refused(latency),
        *_failed_over(latency),
        *_waiting(settings, seen),
        *_inconsistent(seen),
        *_memory(seen, share("redis_memory")),
        *_letters(seen),
        *_turned_away(settings, latency.minute, share),
    ]
    return Judgement(findings, frozenset(_unknown(seen)))


def _unknown(seen: Snapshot) -> Iterator[str]:
    """What could not be asked, be its tier down or only busy: nothing of that is over."""
    if seen.outbox is None:
        yield from ("data_consistency_score", "dead_letters", "backlog_age")
    if seen.pending is None:
        yield from ("redis_memory", "backlog_age")


def _wrong(
    kind: str, detail: str, subject: str = "", priority: str = "", **figures: float | str
) -> Condition:
    return Condition(kind, priority or PRIORITIES[kind][0], detail, figures, subject)


def _unavailable(seen: Snapshot) -> Iterator[Condition]:
    for tier, one in seen.tiers.items():
        if not one.available:
            detail, reason = f"{tier} does not answer: {one.reason}", one.reason or ""
            priority = "P1" if tier == "clickhouse" else "P0"
            yield _wrong("tier_unavailable", detail, tier, priority, tier=tier, reason=reason)


def _progress(seen: Snapshot) -> Iterator[Condition]:
    if not seen.progress.is_ok:
        yield _wrong("no_progress", seen.progress.detail)


def _degraded(settings: Settings, latency: LatencyComparison, share: float) -> Iterator[Condition]:
    before, now, least = latency.baseline_ms, latency.current_ms, latency.least_ms
    if before is None or now is None or least is None:
        return
    bound = max(before + settings.alert_degradation_ms, before * settings.alert_degradation_ratio)
    if least >= max(bound * share, before):
        yield _wrong(
            "performance_degradation",
            f"an acknowledgement takes {now:.1f} ms, and took {before:.1f} ms before",
            baseline_avg_ms=round(before, 3),
            current_avg_ms=round(now, 3),
            degradation_percent=round((now / before - 1) * 100 if before else 0.0, 1),
        )


def _late(settings: Settings, latency: LatencyComparison, share: float) -> Iterator[Condition]:
    p95, limit = latency.now.quantile_ms(0.95), settings.alert_p95_ms
    if p95 is not None and latency.now.answers >= ENOUGH_NOW and p95 > limit * share:
        detail = f"one acknowledgement in twenty takes more than {p95:.0f} ms"
        yield _wrong("latency_p95", detail, p95_ms=round(p95, 1), limit_ms=limit)


def _refused(latency: LatencyComparison) -> Iterator[Condition]:
    refused, taken = int(latency.now["refused"]), latency.now.writes
    rate = 100 * taken / (taken + refused) if refused else 100.0
    if rate < SUCCESS_PERCENT:
        yield _wrong(
            "persistence_success_rate",
            f"{refused} of {taken + refused} writes were not acknowledged",
            success_rate_percent=round(rate, 3),
            refused=refused,
            acknowledged=taken,
        )


def _failed_over(latency: LatencyComparison) -> Iterator[Condition]:
    moved, taken = int(latency.now["failed_over"]), latency.now.writes
    writes = max(taken, moved)
    percent = 100 * moved / max(writes, 1)
    if percent > FAILOVER_PERCENT:
        yield _wrong(
            "failover_frequency",
            f"{moved} of {writes} writes went to another tier than the first",
            failover_percent=round(percent, 3),
            failed_over=moved,
            acknowledged=taken,
        )


def _waiting(settings: Settings, seen: Snapshot) -> Iterator[Condition]:
    for name, where, count, age in (
        ("log", "PostgreSQL", seen.pending, seen.oldest_pending_seconds),
        ("outbox", "ClickHouse", seen.outbox, seen.oldest_outbox_seconds),
    ):
        if age is not None and age > settings.alert_backlog_seconds:
            yield _wrong(
                "backlog_age",
                f"the oldest of {count} entries of the {name} has waited {age:.0f} s for {where}",
                name,
                backlog=name,
                waiting=count or 0,
                oldest_waiting_seconds=round(age, 1),
            )


def _inconsistent(seen: Snapshot) -> Iterator[Condition]:
    score = seen.data_consistency_score
    if score is not None and score < CONSISTENCY_PERCENT:
        detail = f"the last check of everything found the tiers to differ: {score:g} %"
        yield _wrong("data_consistency_score", detail, data_consistency_score=score)


def _memory(seen: Snapshot, share: float) -> Iterator[Condition]:
    used, limit = seen.memory_bytes, seen.memory_limit_bytes
    if used and limit and 100 * used / limit > MEMORY_PERCENT * share:
        percent = round(100 * used / limit, 1)
        yield _wrong(
            "redis_memory",
            f"Redis uses {percent} % of its memory",
            used_percent=percent,
            memory_bytes=used,
            memory_limit_bytes=limit,
        )


def _letters(seen: Snapshot) -> Iterator[Condition]:
    if count := seen.dead_letters:
        detail = f"PostgreSQL refused {count} writes, which wait for a decision"
        yield _wrong("dead_letters", detail, dead_letters=count)


def _turned_away(
    settings: Settings, minute: Mapping[str, float], share: Callable[[str], float]
) -> Iterator[Condition]:
    for subject, what in (
        ("login", "calls came with no credential or a wrong one"),
        ("permission", "calls asked for what their credential may not do"),
    ):
        count, limit = int(minute.get(f"refusals:{subject}", 0)), settings.alert_refusals
        if count > limit * share(key_of("refusals", subject)):
            detail = f"{count} {what} in the last minute: `refused` in the logs says from where"
            yield _wrong(
                "refusals", detail, subject, refused=subject, count=count, limit_per_minute=limit
            )
