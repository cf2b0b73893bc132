"""Messages become tombstones in PostgreSQL: the row holds nothing of what was written, and goes to
ClickHouse as a newer version by way of the outbox."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, text

from models import codec
from models.message import Message

_TOMBSTONE = text(
    """
UPDATE messages SET content = '', metadata = '{}', version = :version, updated_at = :moment,
       deleted_at = :moment, content_hash = :content_hash, persisted_at = clock_timestamp()
WHERE id = :id AND version < :version
"""
)
_QUEUE = text("INSERT INTO clickhouse_outbox (message_id) VALUES (:id)")


def tombstone_of(message: Message, version: int, moment: str) -> Message:
    """A later version of a message that holds nothing of what was written."""
    buried = msgspec.structs.replace(
        message, version=version, content="", metadata={}, updated_at=moment, deleted_at=moment
    )
    return codec.seal(buried)


def bury(connection: Connection, batch: Sequence[Message], moment: str) -> None:
    """Makes tombstones of live messages, in the caller's transaction. `moment` is RFC 3339."""
    for message in batch:
        tombstone = tombstone_of(message, message.version + 1, moment)
        values = {
            "id": message.id,
            "version": tombstone.version,
            "moment": moment,
            "content_hash": tombstone.content_hash,
        }
        connection.execute(_TOMBSTONE, values)
        connection.execute(_QUEUE, {"id": message.id})
