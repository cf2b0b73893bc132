"""Judges how well it works, raises alerts and clears them: every two seconds, or six where nothing
happens and nothing is wrong. Whichever process comes first judges a window. Without Redis each
judges by its own counts, from the newest state it can find, and all come to the same next one."""

import random
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

import structlog
from msgspec import json
from msgspec.structs import replace

from jobs.audit import AuditTrail
from jobs.monitor.alerts.baseline import compare_to_baseline
from jobs.monitor.alerts.history import AlertHistory
from jobs.monitor.alerts.rules import judge
from jobs.monitor.alerts.state import Alert, AlertState, Change, degraded_spans, next_state
from jobs.monitor.alerts.store import (
    AHEAD_WINDOWS,
    Acknowledgment,
    AlertStore,
    Annotations,
    PendingAuditEntry,
    alert_fields,
)
from jobs.monitor.alerts.webhook import WebhookSink
from jobs.monitor.snapshot import Snapshotter
from jobs.monitor.windows import WINDOW_SECONDS, Windows, window_of
from models import ids
from storage.errors import NotFound, TierError
from storage.redis.client import small_client
from storage.resilience.periodic import PeriodicThread
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

SETTLING_SECONDS = 0.3
"""After a window's end, until every process has added what it counted."""
SPREAD_SECONDS = 0.4
"""Processes come one after the other, so that the first has written the state."""
QUIET_WINDOWS = 3
"""One window in so many is judged by a process that counted nothing lately, where the log is empty
and no alert fires or may soon."""
HISTORY_ALERTS = 200
MARKS_WINDOWS = 15
"""So often what admins said is read, where nothing has changed: the audit trail may not have all
of it yet."""


class PerformanceMonitor:
    """The verbs of alerts in one process."""

    def __init__(self, tiers: Tiers, windows: Windows, snapshots: Snapshotter) -> None:
        engine, breakers = tiers.operator_engine, tiers.breakers
        self._tiers = tiers
        self._windows = windows
        self._snapshots = snapshots
        self._saw_nothing = False
        self._store = AlertStore(tiers.notices, breakers)
        self._history = AlertHistory(tiers)
        self._audit = AuditTrail(engine, tiers.clock)
        self._thread = PeriodicThread(
            "alerts",
            self._evaluate_if_due,
            _until_judged,
            "not_judged",
            on_failure=partial(tiers.instruments.round_failed, "alerts"),
            waits_first=True,
        )

    @cached_property
    def _sink(self) -> WebhookSink:
        """Made by whoever judges: others may not read its secret."""
        settings = self._tiers.settings
        return WebhookSink(
            settings.alert_webhook_url,
            settings.alert_webhook_secret,
            small_client(settings),
            self._tiers.instruments,
        )

    def begin(self) -> None:
        """Judges from now on, in a thread. Once a process, after any fork."""
        self._thread.begin()
        self._sink.begin()

    def _evaluate_if_due(self) -> None:
        now = time.time()
        # Whether the log moves is known only to a process that sees it several times.
        self._snapshots.progress.judge()
        window = window_of(now)
        is_quiet = self._saw_nothing and self._snapshots.progress.saw_empty_log
        if not (is_quiet and self._windows.is_idle(window)) or window % QUIET_WINDOWS == 0:
            self.evaluate(now)

    def evaluate(self, now: float) -> bool:
        """Judges the window that ended before a moment, in seconds since 1970, unless somebody
        has; gives whether it did."""
        window = window_of(now)
        # Without Redis everybody judges.
        with suppress(TierError):
            if not self._windows.take_turn(window):
                return False
        before = self.state(now)
        if window <= before.window <= window + AHEAD_WINDOWS:
            return False
        seen = self._snapshots.take()
        latency = compare_to_baseline(self._windows.recent(now), now, degraded_spans(before, now))
        if before.baseline_ms is not None:
            latency = latency._replace(baseline_ms=before.baseline_ms)
        judgement = judge(self._tiers.settings, latency, seen, before.active)
        change = next_state(before, window, now, judgement)
        state = change.state
        if change.is_new or state.records or window % MARKS_WINDOWS == 0:
            marks = self._store.marks()
            self._notify(change, marks, now)
            if seen.tiers["postgresql"].available:
                state = self._recorded(state, marks)
        self._store.keep(state, everywhere=change.is_new)
        self._saw_nothing = not (state.active or state.streaks or state.degraded or state.records)
        return True

    def state(self, now: float) -> AlertState:
        """The newest state that any tier or this process knows, whichever tier is down."""
        return self._store.read(now)

    def firing(self) -> Iterable[Alert]:
        """The alerts that fire, in no order."""
        return self.state(time.time()).active.values()

    def active(self) -> list[Alert]:
        """The alerts that fire, the gravest first."""
        marks, now = self._store.marks(), time.time()
        return [marks.of(one, now) for one in sorted(self.firing(), key=lambda one: one.priority)]

    def history(self) -> list[Alert]:
        """The alerts that were raised last, newest first. Raises `TierUnavailable`."""
        return self._history.newest(HISTORY_ALERTS)

    def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Records that somebody has seen an alert that fires. Raises `NotFound`."""
        alert, marks = self._found(alert_id), self._store.marks()
        first = Acknowledgment(by=by, at=ids.timestamp(self._tiers.clock.now_us()))
        seen = marks.acknowledged.get(alert_id, first)
        marks = replace(marks, acknowledged={**marks.acknowledged, alert_id: seen})
        marks = self._marked(marks, alert, "alert.acknowledged", by, {})
        # Without PostgreSQL it is written with the alert's end.
        with suppress(TierError):
            self._history.write([alert], marks.acknowledged)
        return marks.of(alert, time.time())

    def silence(self, alert_id: str, seconds: float, by: str) -> Alert:
        """Mutes notifications of alerts of this kind for so long; they stay listed. Raises
        `NotFound`."""
        alert, marks = self._found(alert_id), self._store.marks()
        silenced = {**marks.silenced_until, alert.key: time.time() + seconds}
        marks = replace(marks, silenced_until=silenced)
        marks = self._marked(marks, alert, "alert.silenced", by, {"seconds": seconds})
        return marks.of(alert, time.time())

    def _notify(self, change: Change, marks: Annotations, now: float) -> None:
        for event, alerts in (("raised", change.raised), ("cleared", change.ended)):
            for alert in alerts:
                log.warning(f"alert_{event}", type=alert.type, id=alert.id, detail=alert.detail)
                if not marks.is_silent(alert, now):
                    body = {"event": event, "alert": alert_fields(alert)}
                    self._sink.offer(f"{alert.id}:{event}", json.encode(body))

    def _recorded(self, state: AlertState, marks: Annotations) -> AlertState:
        """The state without what PostgreSQL has recorded now."""
        try:
            if state.records:
                self._history.write(state.records.values(), marks.acknowledged)
                state = replace(state, records={})
            if marks.untold:
                self._note(marks.untold)
                # Somebody may have said something meanwhile.
                now = self._store.marks()
                untold = [entry for entry in now.untold if entry not in marks.untold]
                self._store.mark(replace(now, untold=untold))
        except TierError as error:
            log.info("alerts_not_written", tier=error.tier, reason=error.reason)
        return state

    def _marked(
        self, marks: Annotations, alert: Alert, action: str, by: str, details: dict[str, Any]
    ) -> Annotations:
        """Keeps the marks, and records the action in the audit trail, now or when that can be."""
        details = {**details, "type": alert.type}
        entry = PendingAuditEntry(actor=by, action=action, alert_id=alert.id, details=details)
        try:
            self._note([entry])
        except TierError:
            marks = replace(marks, untold=[*marks.untold, entry])
        self._store.mark(marks)
        return marks

    def _note(self, entries: Iterable[PendingAuditEntry]) -> None:
        for one in entries:
            self._audit.note(one.actor, one.action, f"alert:{one.alert_id}", None, one.details)

    def _found(self, alert_id: str) -> Alert:
        for alert in self.firing():
            if alert.id == alert_id:
                return alert
        raise NotFound


def _until_judged() -> float:
    ends = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    return ends + SETTLING_SECONDS + random.random() * SPREAD_SECONDS
