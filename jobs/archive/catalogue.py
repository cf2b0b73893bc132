"""The weekly partitions of `messages` as PostgreSQL has them now."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from storage.postgres.partitions import WEEK, bound, name

DEFAULT = "messages_default"

_PARTITIONS = text(
    """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_table_size(c.oid) AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST('messages' AS regclass)
"""
)
_NOW_MS = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
_LEFTOVERS = text(f"SELECT EXISTS (SELECT FROM {DEFAULT} WHERE id < :below)")  # noqa: S608
_IS_PARTITION = text(
    "SELECT coalesce((SELECT relispartition FROM pg_class WHERE oid = to_regclass(:name)), false)"
)
_BOUNDS = re.compile(r"FOR VALUES FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)")
_WEEKLY = re.compile(r"messages_(\d{4})_(\d\d)_(\d\d)")


class Partition(NamedTuple):
    """A week of messages: ids from `low` to below `high`, its size on disk in bytes, and its rows
    where they were counted."""

    name: str
    low: str
    high: str
    bytes: int
    rows: int = 0

    @property
    def low_ms(self) -> int:
        """The first millisecond of its ids."""
        return milliseconds(self.low)

    @property
    def high_ms(self) -> int:
        """The first millisecond after its ids."""
        return milliseconds(self.high)


class Catalogue(NamedTuple):
    """The weekly partitions, and the bytes of all partitions, others and the default one too."""

    weekly: list[Partition]
    bytes: int


def milliseconds(bound_id: str) -> int:
    """Milliseconds since 1970 of a bound, which stands at a whole one."""
    return int(bound_id[:8] + bound_id[9:13], 16)


def look(connection: Connection) -> Catalogue:
    """What is there now. A partition that somebody made by other bounds or names is not ours."""
    rows = connection.execute(_PARTITIONS).all()
    weekly = []
    for row in rows:
        bounds = _BOUNDS.fullmatch(row.bounds)
        if bounds is not None and bounds.groups() == _week(row.name):
            weekly.append(Partition(row.name, bounds[1], bounds[2], int(row.bytes)))
    return Catalogue(weekly, sum(int(row.bytes) for row in rows))


def counted(connection: Connection, partitions: list[Partition]) -> list[Partition]:
    """The same with their rows, each by a statement of its own."""
    return [
        one._replace(rows=connection.execute(text(f"SELECT count(*) FROM {one.name}")).scalar_one())  # noqa: S608
        for one in partitions
    ]


def now_ms(connection: Connection) -> int:
    """Milliseconds since 1970 by PostgreSQL's clock, which all ages are taken from."""
    return int(connection.execute(_NOW_MS).scalar_one())


def has_leftovers(connection: Connection, below: str) -> bool:
    """Whether the default partition holds ids below one."""
    return bool(connection.execute(_LEFTOVERS, {"below": below}).scalar_one())


def is_partition(connection: Connection, table: str) -> bool:
    """Whether a table exists and is attached to another."""
    return bool(connection.execute(_IS_PARTITION, {"name": table}).scalar_one())


def _week(table: str) -> tuple[str, str] | None:
    date = _WEEKLY.fullmatch(table)
    if date is None:
        return None
    year, month, day = map(int, date.groups())
    monday = datetime(year, month, day, tzinfo=UTC)
    return (bound(monday), bound(monday + WEEK)) if name(monday) == table else None
