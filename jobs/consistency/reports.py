"""Reports as PostgreSQL keeps them, and the lock that lets one check run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Row

from jobs.consistency.report import KEPT_DIFFERENCES, ConsistencyReport, Scope
from models import codec
from storage.errors import NotFound
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import execute, rfc3339, rows_of, transact, translated
from storage.postgres.locks import session_lock, try_lock

KEPT_REPORTS = 200

START_SECONDS = 300
"""A check that nobody has begun by then is not begun any more."""

_LOCK = "consistency"
_OPEN = (
    "INSERT INTO consistency_reports (actor, scope, repair) VALUES (:actor, :scope, :repair)"
    " RETURNING *"
)
_CLOSE = """
UPDATE consistency_reports SET state = :state, finished_at = clock_timestamp(), score = :score,
       report = :report
WHERE id = :id RETURNING finished_at
"""
_ABANDONED = """
UPDATE consistency_reports SET state = 'failed', finished_at = clock_timestamp()
WHERE state = 'running' AND started_at < clock_timestamp() - make_interval(secs => :seconds)
"""
_FORGET = (
    "DELETE FROM consistency_reports WHERE id <= (SELECT max(id) FROM consistency_reports) - :kept"
)
_ONE = "SELECT * FROM consistency_reports WHERE id = :id"
_NEWEST = "SELECT * FROM consistency_reports ORDER BY id DESC LIMIT 1"
_SCORE = """
SELECT score, extract(epoch FROM clock_timestamp() - finished_at) AS age
FROM consistency_reports WHERE state = 'done' AND scope::text = '{}' ORDER BY id DESC LIMIT 1
"""


class CheckRunning(Exception):
    """Another check is at work; one runs at a time."""

    def __init__(self, reason: str = "another check is running") -> None:
        super().__init__(reason)


class LastScore(NamedTuple):
    """The score of the last check of everything, and how many seconds ago it ended."""

    score: float
    age_seconds: float


class ConsistencyReports:
    """The verbs of reports. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, scope: Scope, actor: str, *, repair: bool) -> ConsistencyReport:
        """A report of a check that is to run. Raises `CheckRunning` while one does."""
        named = {name: value for name, value in msgspec.structs.asdict(scope).items() if value}
        values = {"actor": actor, "scope": codec.text(named), "repair": repair}
        with translated(), self._engine.begin() as connection:
            if not try_lock(connection, _LOCK):
                raise CheckRunning
            if is_unfinished(connection):
                raise CheckRunning("a recovery is under way, which compares the tiers itself")
            # Nobody holds the lock, so whoever ran these is gone.
            execute(connection, _ABANDONED, seconds=START_SECONDS)
            execute(connection, _FORGET, kept=KEPT_REPORTS)
            return _report_of(execute(connection, _OPEN, values).one())

    def close(self, connection: Connection, report: ConsistencyReport) -> ConsistencyReport:
        """Keeps what was found, in the caller's transaction; gives it with its end."""
        kept = msgspec.structs.replace(report, differences=report.differences[:KEPT_DIFFERENCES])
        values = {
            "id": report.id,
            "state": report.state,
            "score": report.data_consistency_score,
            "report": codec.text(kept),
        }
        ended: datetime = execute(connection, _CLOSE, values).scalar_one()
        return msgspec.structs.replace(report, finished_at=rfc3339(ended))

    def fail(self, report: ConsistencyReport, reason: str) -> None:
        """Keeps why a check came to no end."""
        failed = msgspec.structs.replace(report, state="failed", reason=reason)
        transact(self._engine, self.close, failed)

    def get(self, report_id: int) -> ConsistencyReport:
        """One report. Raises `NotFound`."""
        return self._one(_ONE, {"id": report_id})

    def last(self) -> ConsistencyReport:
        """The report of the check that was started last. Raises `NotFound`."""
        return self._one(_NEWEST, {})

    def _one(self, query: str, values: dict[str, int]) -> ConsistencyReport:
        found = rows_of(self._engine, query, values)
        if not found:
            raise NotFound
        return _report_of(found[0])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets nobody else check meanwhile. Raises `CheckRunning` where somebody does."""
        with session_lock(self._engine, _LOCK) as connection:
            if connection is None:
                raise CheckRunning
            yield


def last_score(connection: Connection) -> LastScore | None:
    """How well the tiers agreed when all of them were last compared."""
    row = execute(connection, _SCORE).one_or_none()
    return None if row is None else LastScore(float(row.score), float(row.age))


def _report_of(row: Row[Any]) -> ConsistencyReport:
    if row.report is not None:
        kept = msgspec.convert(row.report, ConsistencyReport)
        return msgspec.structs.replace(kept, finished_at=rfc3339(row.finished_at))
    return ConsistencyReport(
        id=row.id,
        state=row.state,
        actor=row.actor,
        scope=msgspec.convert(row.scope, Scope),
        repair=row.repair,
        started_at=rfc3339(row.started_at),
    )
