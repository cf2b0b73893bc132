"""Versions of archived messages that a legal hold keeps, before ClickHouse gets a newer one.

Versions that PostgreSQL has are kept by the statement that overwrites them.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, text

from models import codec
from models.clickhouse_tables import messages
from storage.clickhouse.driver import ClickHouse, batches, translated
from storage.clickhouse.rows import COLUMNS, message_of

_KEEP = text(
    """
INSERT INTO held_versions (id, version, user_id, thread_id, role, content, metadata,
                           created_at, updated_at, content_hash)
SELECT r.id, r.version, r.user_id, r.thread_id, r.role, r.content, r.metadata,
       r.created_at, r.updated_at, r.content_hash
FROM json_to_recordset(CAST(:records AS json)) AS r (
    id uuid, user_id text, thread_id text, role text, content text, metadata json,
    created_at timestamptz, updated_at timestamptz, version bigint, content_hash text)
LEFT JOIN messages m ON m.id = r.id WHERE m.version IS DISTINCT FROM r.version
ON CONFLICT DO NOTHING
"""
)


def keep_archived(connection: Connection, server: ClickHouse, message_ids: Sequence[str]) -> None:
    """Keeps, in the caller's transaction, what ClickHouse has of messages that are about to get a
    newer version there. Raises `TierError`."""
    for some in batches(message_ids, "toUUID('{}')".format):
        named = messages.c.id.in_([func.toUUID(name) for name in some])
        query = select(*COLUMNS).where(named, messages.c.is_deleted == 0)
        with translated(), server.engine.connect() as clickhouse:
            found = [message_of(row) for row in clickhouse.execute(query)]
        if not found:
            continue
        records = codec.json_array([codec.encode(one) for one in found])
        connection.execute(_KEEP, {"records": records})
