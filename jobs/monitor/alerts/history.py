"""Alerts as PostgreSQL keeps them, for as long as anybody is likely to ask."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Engine, text

from jobs.monitor.alerts.state import Alert
from jobs.monitor.alerts.store import Acknowledgment
from storage.postgres.driver import rfc3339, translated
from storage.resilience.breaker import Breaker

KEPT_DAYS = 90

_WRITE = text(
    """
INSERT INTO alerts AS known
    (id, type, subject, priority, raised_at, ended_at, detail, figures, acknowledged_by,
     acknowledged_at)
VALUES (:id, :type, :subject, :priority, :since, :until, :detail, CAST(:figures AS json), :by, :at)
ON CONFLICT (id) DO UPDATE SET
    ended_at = coalesce(excluded.ended_at, known.ended_at),
    detail = excluded.detail, figures = excluded.figures,
    acknowledged_by = coalesce(known.acknowledged_by, excluded.acknowledged_by),
    acknowledged_at = coalesce(known.acknowledged_at, excluded.acknowledged_at)
"""
)
_FORGET = text("DELETE FROM alerts WHERE raised_at < clock_timestamp() - make_interval(days => :d)")
_ACKNOWLEDGE = text(
    "UPDATE alerts SET acknowledged_by = :by, acknowledged_at = :at"
    " WHERE id = :id AND acknowledged_by IS NULL"
)
_NEWEST = text(
    """
SELECT id::text AS id, type, subject, priority, raised_at, ended_at, detail, figures,
       acknowledged_by, acknowledged_at
FROM alerts ORDER BY raised_at DESC, id LIMIT :limit
"""
)


class PastAlert(msgspec.Struct, kw_only=True, frozen=True):
    """An alert of now or before, with who acknowledged it."""

    alert: Alert
    acknowledged: Acknowledgment | None


class AlertHistory:
    """The verbs of the history. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, engine: Engine, breaker: Breaker) -> None:
        self._engine = engine
        self._breaker = breaker

    def write(self, alerts: Iterable[Alert], acknowledged: Mapping[str, Acknowledgment]) -> None:
        """Keeps alerts as they are now; the same one twice is one."""
        rows = [_row(alert, acknowledged.get(alert.id)) for alert in alerts]
        with self._breaker.guard(), translated(), self._engine.begin() as connection:
            connection.execute(_WRITE, rows)
            connection.execute(_FORGET, {"d": KEPT_DAYS})

    def acknowledge(self, alert_id: str, acknowledged: Acknowledgment) -> None:
        """Notes who has seen an alert, if it stands here."""
        values = {"id": alert_id, **msgspec.structs.asdict(acknowledged)}
        with self._breaker.guard(), translated(), self._engine.begin() as connection:
            connection.execute(_ACKNOWLEDGE, values)

    def newest(self, limit: int) -> list[PastAlert]:
        """The alerts that were raised last, newest first."""
        with self._breaker.guard(), translated(), self._engine.connect() as connection:
            return [_past(row) for row in connection.execute(_NEWEST, {"limit": limit})]


def _row(alert: Alert, acknowledged: Acknowledgment | None) -> dict[str, Any]:
    return {
        "id": alert.id,
        "type": alert.type,
        "subject": alert.subject,
        "priority": alert.priority,
        "since": alert.since,
        "until": alert.until,
        "detail": alert.detail,
        "figures": msgspec.json.encode(alert.figures).decode(),
        "by": acknowledged.by if acknowledged else None,
        "at": acknowledged.at if acknowledged else None,
    }


def _past(row: Any) -> PastAlert:
    seen = None
    if row.acknowledged_by is not None:
        seen = Acknowledgment(by=row.acknowledged_by, at=rfc3339(row.acknowledged_at))
    alert = Alert(
        id=row.id,
        type=row.type,
        subject=row.subject,
        priority=row.priority,
        since=rfc3339(row.raised_at),
        detail=row.detail,
        figures=row.figures,
        until=rfc3339(row.ended_at) if row.ended_at else None,
    )
    return PastAlert(alert=alert, acknowledged=seen)
