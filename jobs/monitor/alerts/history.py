"""The alerts of the last 90 days, in PostgreSQL."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from jobs.monitor.alerts.state import Alert
from jobs.monitor.alerts.store import Acknowledgment
from models import codec
from storage.postgres.driver import execute, record_of, rows_of, translated
from storage.tiers import Tiers

KEPT_DAYS = 90

_WRITE = """
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
_FORGET = "DELETE FROM alerts WHERE raised_at < clock_timestamp() - make_interval(days => :d)"
_NEWEST = """
SELECT id::text AS id, type, subject, priority, raised_at AS since, ended_at AS until, detail,
       figures, acknowledged_by, acknowledged_at
FROM alerts ORDER BY raised_at DESC, id LIMIT :limit
"""


class AlertHistory:
    """The verbs of the history. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, tiers: Tiers) -> None:
        self._engine = tiers.operator_engine
        self._breaker = tiers.breakers.postgresql

    def write(self, alerts: Iterable[Alert], acknowledged: Mapping[str, Acknowledgment]) -> None:
        """Records alerts as they are now, and who saw them first."""
        rows = [_row(alert, acknowledged.get(alert.id)) for alert in alerts]
        with self._breaker.guard(), translated(), self._engine.begin() as connection:
            execute(connection, _WRITE, rows)
            execute(connection, _FORGET, d=KEPT_DAYS)

    def newest(self, limit: int) -> list[Alert]:
        """The alerts that were raised last, newest first."""
        with self._breaker.guard():
            rows = rows_of(self._engine, _NEWEST, limit=limit)
        return [record_of(Alert, row, silenced_until=None) for row in rows]


def _row(alert: Alert, seen: Acknowledgment | None) -> dict[str, Any]:
    figures = codec.text(alert.figures)
    by, at = (seen.by, seen.at) if seen else (None, None)
    return {**msgspec.structs.asdict(alert), "figures": figures, "by": by, "at": at}
