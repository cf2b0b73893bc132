"""Loads messages into PostgreSQL again, beside live traffic: newer versions win, and counters are
left alone until everything is there."""

from collections.abc import Iterable

from sqlalchemy import Connection

from models import codec
from storage.postgres.driver import execute
from storage.postgres.writes import REPLACED

# What went with its thread is to leave once more, as far as no hold is on it.
_LOAD = """
WITH stored AS (
    INSERT INTO messages (id, user_id, thread_id, role, content, metadata, created_at, updated_at,
                          version, deleted_at, content_hash)
    SELECT id, user_id, thread_id, role, content, metadata::json, created_at, updated_at,
           version, deleted_at, content_hash
    FROM json_to_recordset(CAST(:rows AS json)) AS r (
        id uuid, user_id text, thread_id text, role text, content text, metadata text,
        created_at timestamptz, updated_at timestamptz, version bigint, deleted_at timestamptz,
        content_hash text)
    WHERE NOT EXISTS (SELECT FROM user_erasures e
                      WHERE e.user_id = r.user_id AND r.id <= e.erased_through)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        {replaced}
    WHERE messages.version < excluded.version AND messages.user_id = excluded.user_id
    RETURNING id, user_id, thread_id, created_at, deleted_at
), erased_again AS (
    UPDATE threads t SET erased_through = NULL, purged_through = NULL FROM stored s
    WHERE t.user_id = s.user_id AND t.id = s.thread_id
      AND s.id <= t.deleted_through AND s.deleted_at IS NULL
      AND (t.erased_through IS NOT NULL OR t.purged_through IS NOT NULL)
), opened AS (
    INSERT INTO threads (user_id, id, created_at, updated_at, version)
    SELECT user_id, thread_id, min(created_at), min(created_at), 1
    FROM stored GROUP BY user_id, thread_id ORDER BY user_id, thread_id
    ON CONFLICT DO NOTHING
)
{queued}
SELECT count(*) FROM stored
"""
_QUEUED = ", queued AS (INSERT INTO clickhouse_outbox (message_id) SELECT id FROM stored)"


def load(connection: Connection, rows: Iterable[bytes], *, ship: bool = False) -> int:
    """Writes rows (JSON objects, metadata as text) where they are newer; gives how many were.
    Nothing of erased users is taken in, and of deleted threads only to be erased again. `ship`
    queues them for ClickHouse. Counters are the caller's."""
    statement = _LOAD.format(replaced=REPLACED, queued=_QUEUED if ship else "")
    return int(execute(connection, statement, rows=codec.json_array(rows)).scalar_one())
