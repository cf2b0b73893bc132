"""Versions of archived messages that a legal hold keeps, before ClickHouse gets a newer one.

Versions that PostgreSQL has are kept by the statement that overwrites them.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from models import codec
from storage.clickhouse.driver import ClickHouse, batches

_ARCHIVED = """
SELECT id, version, user_id, thread_id, role, content, metadata, created_at, updated_at,
       content_hash
FROM messages WHERE id IN ({named}) AND is_deleted = 0
"""
_KEEP = text(
    """
INSERT INTO held_versions (id, version, user_id, thread_id, role, content, metadata,
                           created_at, updated_at, content_hash)
SELECT r.id, r.version, r.user_id, r.thread_id, r.role, r.content, r.metadata::json,
       r.created_at, r.updated_at, r.content_hash
FROM json_to_recordset(CAST(:records AS json)) AS r (
    id uuid, user_id text, thread_id text, role text, content text, metadata text,
    created_at timestamptz, updated_at timestamptz, version bigint, content_hash text)
LEFT JOIN messages m ON m.id = r.id WHERE m.version IS DISTINCT FROM r.version
ON CONFLICT DO NOTHING
"""
)


def keep_archived(connection: Connection, server: ClickHouse, message_ids: Sequence[str]) -> None:
    """Keeps, in the caller's transaction, what ClickHouse has of messages that are about to get a
    newer version there. Raises `TierError`."""
    for some in batches(message_ids, "'{}'".format):
        named = ", ".join(map("'{}'".format, some))
        found = server.lines(_ARCHIVED.format(named=named)).splitlines()
        if found:
            connection.execute(_KEEP, {"records": codec.json_array(found)})
