"""The weekly partitions of `messages` as PostgreSQL has them now."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from jobs.archive.tiering import Partition, TieringRules, tier_old_messages
from storage.postgres.driver import execute
from storage.postgres.partitions import WEEK, bound, name

DEFAULT = "messages_default"

_PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_table_size(c.oid) AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST('messages' AS regclass)
"""
_NOW_MS = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_BOUNDS = re.compile(r"FOR VALUES FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)")


class DuePartitions(NamedTuple):
    """The weekly partitions that are old enough, oldest first, and the bytes of all partitions,
    whether old or not."""

    partitions: list[Partition]
    all_bytes: int


def due(connection: Connection, rules: TieringRules) -> DuePartitions:
    """What is old enough now. A partition with other bounds or another name is not ours."""
    rows = execute(connection, _PARTITIONS).all()
    weekly = []
    for row in rows:
        bounds = _BOUNDS.fullmatch(row.bounds)
        with suppress(ValueError):
            monday = datetime.strptime(row.name, "messages_%Y_%m_%d").replace(tzinfo=UTC)
            week = (bound(monday), bound(monday + WEEK))
            if bounds and bounds.groups() == week and name(monday) == row.name:
                weekly.append(Partition(row.name, *week, int(row.bytes)))
    old = tier_old_messages(weekly, now_ms(connection), rules)
    return DuePartitions(old, sum(int(row.bytes) for row in rows))


def now_ms(connection: Connection) -> int:
    """Milliseconds since 1970 by PostgreSQL's clock, which all ages are taken from."""
    return int(execute(connection, _NOW_MS).scalar_one())
