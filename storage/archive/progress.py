"""How far the archive is: what has left PostgreSQL, and what is on its way."""

import msgspec
from sqlalchemy import Engine, text

from models import ids
from storage.postgres_driver import translated

_BELOW = text("SELECT below::text FROM archive_boundary")
_UNITS = text(
    """
SELECT state, count(*) AS partitions, coalesce(sum(rows), 0)::bigint AS messages,
       sum(pg_table_size(to_regclass(name)))::bigint AS bytes
FROM archive_units GROUP BY state
"""
)
_STOPPED = text(
    "SELECT name, coalesce(reason, '') AS reason FROM archive_units WHERE state = 'stopped'"
    " ORDER BY low LIMIT 20"
)


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


class ArchiveProgress(msgspec.Struct, kw_only=True, frozen=True):
    """What is older than `archived_before` may be in ClickHouse alone; null where nothing is.
    `units` by state: planned, proven, detached, dropped or stopped; `stopped` names twenty."""

    archived_before: str | None
    units: dict[str, Units]
    stopped: list[StoppedUnit]


def archive_progress(engine: Engine) -> ArchiveProgress:
    """The archive as PostgreSQL tells of it. Raises `TierUnavailable`."""
    with translated(), engine.connect() as connection:
        below: str = connection.execute(_BELOW).scalar_one()
        units = connection.execute(_UNITS).all()
        stopped = connection.execute(_STOPPED).all()
    return ArchiveProgress(
        archived_before=None if below == ids.LOWEST else ids.timestamp(ids.time_us_of(below)),
        units={
            row.state: Units(partitions=row.partitions, messages=row.messages, bytes=row.bytes)
            for row in units
        },
        stopped=[StoppedUnit(name=row.name, reason=row.reason) for row in stopped],
    )
