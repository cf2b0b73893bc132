"""What is on its way: a message that a worker is about to carry is no difference."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, text

from models import codec
from storage.clickhouse.driver import ClickHouse, translated
from storage.postgres.backlog import refused
from storage.redis.pending_log import PendingLog

PATIENCE_SECONDS = 60.0
"""Longer than any worker that is well takes for what waits; what waits longer is named."""

MOST_ENTRIES = 1_000_000

_QUEUED = text(
    """
SELECT message_id::text FROM clickhouse_outbox
WHERE message_id = ANY(CAST(:ids AS uuid[]))
UNION SELECT message_id::text FROM redis_backfill WHERE message_id = ANY(CAST(:ids AS uuid[]))
"""
)


class InFlight(NamedTuple):
    """Of some messages those on their way, and all that PostgreSQL has refused."""

    moving: set[str]
    refused: set[str]


def flights(
    connection: Connection, server: ClickHouse, log: PendingLog, names: Collection[str]
) -> InFlight:
    """Looks at every list of what is to be carried. Raises `TierError`."""
    wanted = set(names)
    moving = set(connection.execute(_QUEUED, {"ids": list(wanted)}).scalars())
    moving |= wanted & (pending(log) | _direct(server, wanted))
    return InFlight(
        moving, {name for address in refused(connection) if (name := address.message_id)}
    )


def pending(log: PendingLog) -> set[str]:
    """The messages whose versions wait in the log."""
    found = set()
    for entry in log.read(range(log.slots), MOST_ENTRIES):
        if entry.kind == "message":
            try:
                found.add(codec.decode(entry.record).id)
            except codec.Corrupt:
                continue
    return found


def _direct(server: ClickHouse, names: Collection[str]) -> set[str]:
    with translated(), server.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT DISTINCT toString(id) AS name FROM direct_writes")
        return {row.name for row in rows} & set(names)
