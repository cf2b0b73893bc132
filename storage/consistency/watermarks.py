"""Messages that are live although they went with their thread, whose deletion is carried out."""

from typing import Any

from sqlalchemy import Connection, Row, text

from storage.clickhouse_driver import ClickHouse, translated
from storage.consistency.report import Scope
from storage.fingerprints import literal

BATCH_THREADS = 500

_IN_SCOPE = """
  AND (CAST(:user_id AS text) IS NULL OR t.user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR t.id = :thread_id)"""
_ERASED = text(
    """
SELECT t.user_id, t.id AS thread_id, t.deleted_through::text AS deleted_through FROM threads t
WHERE t.deleted_through IS NOT NULL AND t.erased_through = t.deleted_through"""
    + _IN_SCOPE
)
_LIVE = text(
    """
SELECT m.id::text FROM threads t JOIN messages m ON m.user_id = t.user_id AND m.thread_id = t.id
WHERE t.deleted_through IS NOT NULL AND t.erased_through = t.deleted_through
  AND m.id <= t.deleted_through AND m.deleted_at IS NULL"""
    + _IN_SCOPE
)
_ARCHIVED_LIVE = """
SELECT toString(m.id) AS id, w.through AS through FROM (
    SELECT id, user_id, thread_id, argMax(is_deleted, (version, archived_at)) AS gone
    FROM messages WHERE (user_id, thread_id) IN ({threads}) GROUP BY id, user_id, thread_id
) AS m INNER JOIN (
    SELECT arrayJoin([{marks}]) AS mark, mark.1 AS user_id, mark.2 AS thread_id, mark.3 AS through
) AS w ON m.user_id = w.user_id AND m.thread_id = w.thread_id
WHERE NOT gone AND toString(m.id) <= w.through"""


def resurrected(connection: Connection, server: ClickHouse, scope: Scope) -> set[str]:
    """Their ids, in PostgreSQL or ClickHouse. Raises `TierError`."""
    values = {"user_id": scope.user_id, "thread_id": scope.thread_id}
    found = set(connection.execute(_LIVE, values).scalars())
    erased = connection.execute(_ERASED, values).all()
    for at in range(0, len(erased), BATCH_THREADS):
        found |= _archived(server, erased[at : at + BATCH_THREADS])
    return found


def _archived(server: ClickHouse, threads: list[Row[Any]] | Any) -> set[str]:
    named = [(literal(one.user_id), literal(one.thread_id), one.deleted_through) for one in threads]
    query = _ARCHIVED_LIVE.format(
        threads=", ".join(f"({user}, {thread})" for user, thread, _ in named),
        marks=", ".join(f"({user}, {thread}, '{mark}')" for user, thread, mark in named),
    )
    with translated(), server.engine.connect() as connection:
        return {row.id for row in connection.exec_driver_sql(query)}
