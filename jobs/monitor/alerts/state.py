"""The state of the alerts: which are active, which are suspected, and what is to be recorded. Pure:
an evaluation makes the next state from the one before."""

import uuid
from typing import NamedTuple

import msgspec

from jobs.monitor.alerts.baseline import NOW_WINDOWS, Span
from jobs.monitor.alerts.rules import CLEAR_AFTER, RAISE_AFTER, Condition, Judgement, key_of
from jobs.monitor.windows import SHOWN_WINDOWS, WINDOW_SECONDS, window_of
from models import ids

DEGRADATION = "performance_degradation"
KEPT_RECORDS = 200
"""Raised and ended alerts that wait for PostgreSQL at most; the oldest are dropped first."""
_IDS = uuid.UUID("6e0a7a5e-2f5c-4f0e-9a53-3d3f4d0a7c11")


class Alert(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An alert; times are RFC 3339. `until` is when it ended, if it has; who acknowledged it, and
    until when its kind is silent, stand in it where it is shown."""

    id: str
    type: str
    subject: str
    priority: str
    since: str
    detail: str
    figures: dict[str, float | str]
    until: str | None = None
    acknowledged_by: str | None = None
    acknowledged_at: str | None = None
    silenced_until: str | None = None

    @property
    def key(self) -> str:
        """What it is about, whichever instance it is."""
        return key_of(self.type, self.subject)


class Streak(msgspec.Struct, frozen=True, array_like=True):
    """How many evaluations in a row found something wrong, or found it well again."""

    bad: int = 0
    good: int = 0
    since: float = 0.0


class AlertState(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """`window` is the one that was judged last. `degraded` are the spans in which
    acknowledgements were slow, and `baseline_ms` what they took before, while they may be.
    `records` are those that PostgreSQL does not have yet, by id."""

    window: int = 0
    active: dict[str, Alert] = {}
    streaks: dict[str, Streak] = {}
    degraded: list[Span] = []
    baseline_ms: float | None = None
    records: dict[str, Alert] = {}


class Change(NamedTuple):
    """The next state, and what it raised and ended."""

    state: AlertState
    raised: list[Alert]
    ended: list[Alert]

    @property
    def is_new(self) -> bool:
        """Whether anybody must hear of it."""
        return bool(self.raised or self.ended)


def next_state(before: AlertState, window: int, now: float, judgement: Judgement) -> Change:
    """The state after one more evaluation, at a moment in seconds since 1970."""
    found = {finding.key: finding for finding in judgement.findings}
    active, streaks = dict(before.active), dict(before.streaks)
    raised, ended = [], []
    for key in {**found, **active, **streaks}:
        finding, kind = found.get(key), key.partition(":")[0]
        if finding is None and kind in judgement.unknown:
            continue
        streak = streaks[key] = _after(streaks.get(key, Streak()), finding is not None, now)
        is_sure = key in active or streak.bad >= RAISE_AFTER.get(kind, 2)
        if finding is not None and is_sure:
            alert = _alert(finding, active.get(key), window, now)
            raised += [alert] if key not in active else []
            active[key] = alert
        elif finding is None and (key not in active or streak.good >= CLEAR_AFTER):
            streaks.pop(key)
            if key in active:
                ended.append(msgspec.structs.replace(active.pop(key), until=_rfc3339(now)))
    baseline = _baseline(before, found.get(DEGRADATION)) if DEGRADATION in streaks else None
    records = {**before.records, **{alert.id: alert for alert in (*raised, *ended)}}
    state = AlertState(
        window=window,
        active=active,
        streaks=streaks,
        degraded=_spans(before.degraded, streaks.get(DEGRADATION), now),
        baseline_ms=baseline,
        records=dict(list(records.items())[-KEPT_RECORDS:]),
    )
    return Change(state, raised, ended)


def degraded_spans(state: AlertState, now: float) -> list[Span]:
    """When acknowledgements were slow, the present included where they may be again."""
    return _spans(state.degraded, state.streaks.get(DEGRADATION), now)


def _after(streak: Streak, is_bad: bool, now: float) -> Streak:
    if not is_bad:
        return Streak(0, streak.good + 1, streak.since)
    return Streak(streak.bad + 1, 0, streak.since or now)


def _alert(finding: Condition, before: Alert | None, window: int, now: float) -> Alert:
    return Alert(
        # Two processes that cannot reach each other raise the same alert under one id.
        id=before.id if before else str(uuid.uuid5(_IDS, f"{finding.key}:{window}")),
        type=finding.type,
        subject=finding.subject,
        priority=finding.priority,
        since=before.since if before else _rfc3339(now),
        detail=finding.detail,
        figures=dict(finding.figures),
    )


def _baseline(before: AlertState, finding: Condition | None) -> float | None:
    """What was found at first: later it might be taken from what is slow already."""
    if before.baseline_ms is not None or finding is None:
        return before.baseline_ms
    return float(finding.figures["baseline_avg_ms"])


def _spans(spans: list[Span], streak: Streak | None, now: float) -> list[Span]:
    """The spans that may still matter, with the one that goes on lengthened to now."""
    oldest = now - (SHOWN_WINDOWS + 2 * NOW_WINDOWS) * WINDOW_SECONDS
    kept = [span for span in spans if span[1] > oldest]
    if streak is None:
        return kept
    # It may have been slow in any of the windows that were averaged.
    since = float((window_of(streak.since) - NOW_WINDOWS) * WINDOW_SECONDS)
    return [span for span in kept if span[0] < since] + [(since, now)]


def _rfc3339(moment: float) -> str:
    return ids.timestamp(round(moment * 1e6))
