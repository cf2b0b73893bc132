"""How far the archive is: what has left PostgreSQL, and what is on its way."""

import msgspec
from sqlalchemy import Connection, Engine

from jobs.archive import catalogue
from jobs.archive.tiering import TieringRules
from models import ids
from storage.availability.hidden import archive_boundary
from storage.postgres.driver import execute, translated
from storage.postgres.locks import is_held

_GONE = ("detached", "dropped")

_UNITS = """
SELECT state, count(*) AS partitions, coalesce(sum(rows), 0)::bigint AS messages,
       sum(pg_table_size(to_regclass(name)))::bigint AS bytes
FROM archive_units GROUP BY state
"""
_STOPPED = (
    "SELECT name, coalesce(reason, '') AS reason FROM archive_units WHERE state = 'stopped'"
    " ORDER BY low LIMIT 20"
)
_OPEN_NAMES = "SELECT name FROM archive_units WHERE state <> 'dropped'"


class Units(msgspec.Struct, kw_only=True, frozen=True):
    """The partitions in one state, and the messages that were proven of them. `bytes` is what they
    take in PostgreSQL, null where they are gone."""

    partitions: int
    messages: int
    bytes: int | None


class StoppedUnit(msgspec.Struct, kw_only=True, frozen=True):
    """A partition that cannot be archived, and why."""

    name: str
    reason: str


class Remaining(msgspec.Struct, kw_only=True, frozen=True):
    """Partitions that are old enough and still read from PostgreSQL, and the bytes they take."""

    partitions: int
    bytes: int


class ArchiveProgress(msgspec.Struct, kw_only=True, frozen=True):
    """What is older than `archived_before` may be in ClickHouse alone; null where nothing is.
    `percent` of the partitions that ever were old enough have left, null where none was; `running`
    says whether an archiver is at work. `units` by state: planned, proven, detached, dropped or
    stopped; `stopped` names twenty."""

    archived_before: str | None
    running: bool
    percent: float | None
    remaining: Remaining
    units: dict[str, Units]
    stopped: list[StoppedUnit]


def archive_progress(engine: Engine, rules: TieringRules) -> ArchiveProgress:
    """The archive as PostgreSQL tells of it. Raises `TierUnavailable`."""
    with translated(), engine.connect() as connection:
        below = archive_boundary(connection)
        units = {
            row.state: Units(partitions=row.partitions, messages=row.messages, bytes=row.bytes)
            for row in execute(connection, _UNITS)
        }
        remaining = _remaining(connection, units, rules)
        gone = sum(units[state].partitions for state in _GONE if state in units)
        ever = gone + remaining.partitions
        return ArchiveProgress(
            archived_before=None if below == ids.LOWEST else ids.timestamp(ids.time_us_of(below)),
            running=is_held(connection, "archive"),
            percent=round(100 * gone / ever, 1) if ever else None,
            remaining=remaining,
            units=units,
            stopped=[StoppedUnit(**row._asdict()) for row in execute(connection, _STOPPED)],
        )


def _remaining(connection: Connection, units: dict[str, Units], rules: TieringRules) -> Remaining:
    """What a run has taken up and not moved yet, and what the next one will take up."""
    waiting = [unit for state, unit in units.items() if state not in _GONE]
    taken_up = set(execute(connection, _OPEN_NAMES).scalars())
    old = catalogue.due(connection, rules).partitions
    due = [one for one in old if one.name not in taken_up]
    return Remaining(
        partitions=sum(unit.partitions for unit in waiting) + len(due),
        bytes=sum(unit.bytes or 0 for unit in waiting) + sum(one.bytes for one in due),
    )
