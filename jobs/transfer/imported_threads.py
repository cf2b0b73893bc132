"""Writes threads' own data of an import: newer versions win, and what was deleted stays deleted."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from models import codec
from models.message import Thread
from models.versions import VERSION_STEP
from storage.postgres.reads import thread_of

_GIVEN = """
SELECT DISTINCT ON (user_id, id) * FROM json_to_recordset(CAST(:records AS json)) AS r (
    user_id text, id text, title text, metadata json, created_at timestamptz,
    updated_at timestamptz, version bigint, is_pinned boolean, is_archived boolean)
ORDER BY user_id, id, version DESC
"""
# A thread that only messages have opened has nothing to lose, whatever its version; it gets a new
# one, so that hot copies of it give way.
_UPSERT = text(
    f"""
WITH given AS ({_GIVEN})
INSERT INTO threads (user_id, id, title, metadata, created_at, updated_at, version, is_pinned,
                     is_archived)
SELECT user_id, id, title, metadata, created_at, updated_at, version, is_pinned, is_archived
FROM given WHERE NOT EXISTS (
    SELECT FROM user_erasures e WHERE e.user_id = given.user_id
        AND given.created_at <= e.erased_at)
ORDER BY user_id, id
ON CONFLICT (user_id, id) DO UPDATE SET
    title = excluded.title, metadata = excluded.metadata, updated_at = excluded.updated_at,
    created_at = least(threads.created_at, excluded.created_at),
    version = greatest(excluded.version, threads.version + {VERSION_STEP}),
    is_pinned = excluded.is_pinned, is_archived = excluded.is_archived
WHERE threads.deleted_at IS NULL AND (
    excluded.version > threads.version
    OR (excluded.version = threads.version
        AND threads.title IS NULL AND threads.metadata::text = '{{}}'
        AND NOT threads.is_pinned AND NOT threads.is_archived
        AND (excluded.title IS NOT NULL OR excluded.metadata::text <> '{{}}'
             OR excluded.is_pinned OR excluded.is_archived)))
"""  # noqa: S608
)
_AS_THEY_ARE = text(
    f"""
WITH given AS ({_GIVEN})
SELECT t.user_id, t.id, t.title, t.metadata, t.created_at, t.updated_at, t.version, t.deleted_at,
       t.deleted_through::text AS deleted_through, t.is_pinned, t.is_archived, t.last_message_at,
       t.message_count
FROM given JOIN threads t USING (user_id, id)
"""  # noqa: S608
)


def write_threads(connection: Connection, threads: Sequence[Thread]) -> int:
    """Writes threads' own data where newer; gives how many were."""
    return connection.execute(_UPSERT, _values(threads)).rowcount if threads else 0


def as_they_are(connection: Connection, threads: Sequence[Thread]) -> list[Thread]:
    """These threads as PostgreSQL has them."""
    if not threads:
        return []
    return [thread_of(row).thread for row in connection.execute(_AS_THEY_ARE, _values(threads))]


def _values(threads: Sequence[Thread]) -> dict[str, str]:
    return {"records": codec.json_array(codec.encode(one) for one in threads)}
