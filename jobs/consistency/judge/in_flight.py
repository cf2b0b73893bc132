"""What is on its way: a message that a worker is about to carry is no difference."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, text

from models import codec
from models.message import Message
from storage.clickhouse.driver import ClickHouse
from storage.postgres.backlog import refused
from storage.redis.pending_log import LogEntry, PendingLog

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
_DIRECT = "SELECT DISTINCT toString(id) AS name FROM direct_writes"


class InFlight(NamedTuple):
    """Of some messages those on their way, and all that PostgreSQL has refused."""

    moving: set[str]
    refused: set[str]


def in_flight(
    connection: Connection, server: ClickHouse, log: PendingLog, names: Collection[str]
) -> InFlight:
    """Searches every list of what is to be carried. Raises `TierError`."""
    moving = set(connection.execute(_QUEUED, {"ids": list(names)}).scalars())
    carried = {message.id for _, message in pending(log)}
    carried |= {row.name for row in server.rows(_DIRECT)}
    return InFlight(
        moving | (carried & set(names)),
        {name for address in refused(connection) if (name := address.message_id)},
    )


def pending(log: PendingLog) -> Iterator[tuple[LogEntry, Message]]:
    """The versions of messages that wait in the log, with their entries. Raises `TierError`."""
    for entry in log.read(range(log.slots), MOST_ENTRIES):
        if entry.kind == "message":
            try:
                yield entry, codec.decode(entry.record)
            except codec.Corrupt:
                continue
