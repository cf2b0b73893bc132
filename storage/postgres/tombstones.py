"""Messages become tombstones in PostgreSQL: the row holds nothing of what was written, and goes to
ClickHouse as a newer version by way of the outbox."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from models import codec
from models.message import Message
from storage.postgres.driver import execute

_TOMBSTONE = """
UPDATE messages SET content = '', metadata = '{}', version = :version, updated_at = :deleted_at,
       deleted_at = :deleted_at, content_hash = :content_hash, persisted_at = clock_timestamp()
WHERE id = :id AND version < :version
"""
_QUEUE = "INSERT INTO clickhouse_outbox (message_id) VALUES (:id)"
# Nothing counts what its thread took along.
_DISCOUNT = (
    "UPDATE threads SET message_count = message_count - 1"
    " WHERE user_id = :user_id AND id = :thread_id"
    " AND (deleted_through IS NULL OR deleted_through < :id)"
)

DOUBLE_STEP = 1_000
"""Room for edits of a double that Redis may hold and nobody has seen."""

HIDDEN = "(m.id <= greatest(t.deleted_through, e.erased_through)) IS TRUE"
"""Of a row `m`, given its thread `t` and the erasure `e` of its user, each if there is any: whether
it is hidden by one of them. For statements that cannot hand their rows out first."""


def tombstone_of(message: Message, version: int, moment: str) -> Message:
    """A later version of a message that holds nothing of what was written."""
    buried = msgspec.structs.replace(
        message, version=version, content="", metadata={}, updated_at=moment, deleted_at=moment
    )
    return codec.seal(buried)


def bury(connection: Connection, batch: Sequence[Message], moment: str) -> None:
    """Makes tombstones, in the caller's transaction, of what a deleted thread took along, which no
    longer counts. `moment` is RFC 3339."""
    for message in batch:
        _bury(connection, tombstone_of(message, message.version + 1, moment))


def bury_doubles(connection: Connection, batch: Sequence[Message], moment: str) -> None:
    """Likewise of live messages that lost their key to another, and of which each counts."""
    for message in batch:
        tombstone = tombstone_of(message, message.version + DOUBLE_STEP, moment)
        if _bury(connection, tombstone):
            execute(connection, _DISCOUNT, msgspec.structs.asdict(tombstone))


def _bury(connection: Connection, tombstone: Message) -> bool:
    values = msgspec.structs.asdict(tombstone)
    execute(connection, _QUEUE, values)
    return execute(connection, _TOMBSTONE, values).rowcount > 0
