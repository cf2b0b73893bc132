"""Judges every two seconds how well it works, raises alerts and clears them.

Any process may judge: whoever comes first takes the turn of a window. Without Redis there are no
turns; then each goes by what it counted itself, from the newest standing it can find, and two that
judge the same window come to the same next one.
"""

import random
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import msgspec
import structlog

from jobs.audit import AuditTrail
from jobs.monitor.alerts.baseline import LatencyComparison, compare_to_baseline
from jobs.monitor.alerts.history import AlertHistory, PastAlert
from jobs.monitor.alerts.rules import judge
from jobs.monitor.alerts.state import (
    Alert,
    AlertState,
    Change,
    degraded_spans,
    next_state,
    without_records,
)
from jobs.monitor.alerts.store import (
    AHEAD_WINDOWS,
    Acknowledgment,
    AlertStore,
    Annotations,
    PendingAuditEntry,
)
from jobs.monitor.alerts.views import ActiveAlert, alert_fields
from jobs.monitor.alerts.webhook import WebhookSink
from jobs.monitor.snapshot import Snapshot, Snapshotter
from jobs.monitor.windows import WINDOW_SECONDS, Windows, window_of
from models import ids
from models.ids import Clock
from settings import Settings
from storage.errors import NotFound, TierError
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)

SETTLING_SECONDS = 0.3
"""After a window's end, until every process has added what it counted."""
SPREAD_SECONDS = 0.4
"""Processes come one after the other, so that the first has said what stands."""
HISTORY_ALERTS = 200
MARKS_WINDOWS = 15
"""So often what admins said is looked at, where nothing has changed: the audit trail may not know
all of it yet."""


class PerformanceMonitor:
    """The verbs of alerts in one process."""

    def __init__(
        self,
        settings: Settings,
        windows: Windows,
        looker: Snapshotter,
        book: AlertStore,
        history: AlertHistory,
        audit: AuditTrail,
        sink: WebhookSink,
        clock: Clock,
        instruments: Instruments,
    ) -> None:
        self._settings = settings
        self._windows = windows
        self._looker = looker
        self._book = book
        self._history = history
        self._audit = audit
        self._sink = sink
        self._clock = clock
        self._thread = PeriodicThread(
            "alerts",
            lambda: self.evaluate(time.time()),
            _until_judged,
            "not_judged",
            on_failure=partial(instruments.round_failed, "alerts"),
            waits_first=True,
        )

    def begin(self) -> None:
        """Judges from now on, in a thread. Once a process, after any fork."""
        self._thread.begin()
        self._sink.begin()

    def evaluate(self, now: float) -> bool:
        """Judges the window that ended before a moment, in seconds since 1970, unless somebody
        has; gives whether it did."""
        window = window_of(now)
        self._looker.watch()
        if not self._has_turn(window):
            return False
        before = self._book.read(now)
        if window <= before.window <= window + AHEAD_WINDOWS:
            return False
        look = self._looker.look()
        found = self._pace(before, now)
        judgement = judge(self._settings, found, look, before.active)
        change = next_state(before, window, now, judgement)
        standing = change.standing
        if change.is_new or standing.records or window % MARKS_WINDOWS == 0:
            marks = self._book.marks()
            self._tell(change, marks, now)
            standing = self._recorded(standing, marks, look)
        self._book.keep(standing, everywhere=change.is_new)
        return True

    def standing(self) -> Iterable[Alert]:
        """The alerts that stand, in no order; told whichever tier is out."""
        return self._book.read(time.time()).active.values()

    def active(self) -> list[ActiveAlert]:
        """The alerts that stand, the gravest first; told whichever tier is out."""
        marks, now = self._book.marks(), time.time()
        standing = sorted(self.standing(), key=lambda one: one.priority)
        return [_as_active(alert, marks, now) for alert in standing]

    def history(self) -> list[PastAlert]:
        """The alerts that were raised last, newest first. Raises `TierUnavailable`."""
        return self._history.newest(HISTORY_ALERTS)

    def acknowledge(self, alert_id: str, by: str) -> ActiveAlert:
        """Notes that somebody has seen an alert that stands. Raises `NotFound`."""
        alert, marks = self._found(alert_id), self._book.marks()
        seen = Acknowledgment(by=by, at=ids.timestamp(self._clock.now_us()))
        known = {**marks.acknowledged, alert_id: marks.acknowledged.get(alert_id, seen)}
        marks = msgspec.structs.replace(marks, acknowledged=known)
        deed = PendingAuditEntry(
            actor=by, action="alert.acknowledged", alert_id=alert_id, details={}
        )
        marks = self._marked(marks, deed, alert)
        # Without PostgreSQL it is written with the alert's end.
        with suppress(TierError):
            self._history.acknowledge(alert_id, known[alert_id])
        return _as_active(alert, marks, time.time())

    def silence(self, alert_id: str, seconds: float, by: str) -> ActiveAlert:
        """Has nobody told of alerts of this kind for so long; they stay listed.

        Raises `NotFound`.
        """
        alert, marks = self._found(alert_id), self._book.marks()
        until = time.time() + seconds
        silenced = {**marks.silenced_until, alert.key: until}
        marks = msgspec.structs.replace(marks, silenced_until=silenced)
        details = {"seconds": seconds}
        deed = PendingAuditEntry(
            actor=by, action="alert.silenced", alert_id=alert_id, details=details
        )
        return _as_active(alert, self._marked(marks, deed, alert), time.time())

    def _has_turn(self, window: int) -> bool:
        try:
            return self._windows.take_turn(window)
        except TierError:
            return True

    def _pace(self, standing: AlertState, now: float) -> LatencyComparison:
        found = compare_to_baseline(self._windows.recent(now), now, degraded_spans(standing, now))
        if standing.baseline_ms is not None:
            return found._replace(baseline_ms=standing.baseline_ms)
        return found

    def _tell(self, change: Change, marks: Annotations, now: float) -> None:
        for event, alerts in (("raised", change.raised), ("cleared", change.ended)):
            for alert in alerts:
                log.warning(f"alert_{event}", type=alert.type, id=alert.id, detail=alert.detail)
                if not marks.is_silent(alert, now):
                    body = {"event": event, "alert": alert_fields(alert)}
                    self._sink.offer(f"{alert.id}:{event}", msgspec.json.encode(body))

    def _recorded(self, standing: AlertState, marks: Annotations, look: Snapshot) -> AlertState:
        """The standing, without what PostgreSQL has been told now."""
        if not look.tiers["postgresql"].available:
            return standing
        try:
            if standing.records:
                self._history.write(standing.records.values(), marks.acknowledged)
                standing = without_records(standing, standing.records)
            if marks.untold:
                self._note(marks.untold)
                # Somebody may have said something meanwhile.
                now = self._book.marks()
                untold = [deed for deed in now.untold if deed not in marks.untold]
                self._book.mark(msgspec.structs.replace(now, untold=untold))
        except TierError as error:
            log.info("alerts_not_written", tier=error.tier, reason=error.reason)
        return standing

    def _marked(self, marks: Annotations, deed: PendingAuditEntry, alert: Alert) -> Annotations:
        """Keeps the marks, and notes the deed in the audit trail, now or when that can be."""
        deed = msgspec.structs.replace(deed, details={**deed.details, "type": alert.type})
        try:
            self._note([deed])
        except TierError:
            marks = msgspec.structs.replace(marks, untold=[*marks.untold, deed])
        self._book.mark(marks)
        return marks

    def _note(self, deeds: Iterable[PendingAuditEntry]) -> None:
        for deed in deeds:
            self._audit.note(deed.actor, deed.action, f"alert:{deed.alert_id}", None, deed.details)

    def _found(self, alert_id: str) -> Alert:
        for alert in self.standing():
            if alert.id == alert_id:
                return alert
        raise NotFound


def _until_judged() -> float:
    ends = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    return ends + SETTLING_SECONDS + random.random() * SPREAD_SECONDS


def _as_active(alert: Alert, marks: Annotations, now: float) -> ActiveAlert:
    until = marks.silenced_until.get(alert.key, 0.0)
    return ActiveAlert(
        alert=alert,
        acknowledged=marks.acknowledged.get(alert.id),
        silenced_until=ids.timestamp(int(until * 1e6)) if until > now else None,
    )
