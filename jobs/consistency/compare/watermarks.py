"""Messages that are there although they went with their thread or their user, of whom the deletion
is carried out."""

from typing import Any

from sqlalchemy import Connection, Row, text

from jobs.consistency.report import Scope
from storage.clickhouse.driver import LIST_BYTES, ClickHouse, batches, literal, translated

ROOM = LIST_BYTES // 2
"""A query names what it looks for twice."""

_IN_SCOPE = """
  AND (CAST(:user_id AS text) IS NULL OR t.user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR t.id = :thread_id)"""
_PURGED = text(
    """
SELECT t.user_id, t.id AS thread_id, t.purged_through::text AS purged_through FROM threads t
WHERE t.purged_through IS NOT NULL"""
    + _IN_SCOPE
)
_LIVE = text(
    """
SELECT m.id::text FROM threads t JOIN messages m ON m.user_id = t.user_id AND m.thread_id = t.id
WHERE m.id <= t.erased_through AND m.deleted_at IS NULL"""
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


_USERS = text(
    """
SELECT user_id, erased_through::text AS through FROM user_erasures
WHERE finished_at IS NOT NULL AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)"""
)
_OF_USERS = text(
    """
SELECT m.id::text FROM user_erasures e JOIN messages m
    ON m.user_id = e.user_id AND m.id <= e.erased_through
WHERE e.finished_at IS NOT NULL AND (CAST(:user_id AS text) IS NULL OR e.user_id = :user_id)"""
)
_ARCHIVED_OF_USERS = """
SELECT DISTINCT toString(m.id) AS id FROM messages AS m INNER JOIN (
    SELECT arrayJoin([{marks}]) AS mark, mark.1 AS user_id, mark.2 AS through
) AS w ON m.user_id = w.user_id
WHERE m.user_id IN ({users}) AND toString(m.id) <= w.through"""


def of_erased_users(connection: Connection, server: ClickHouse, scope: Scope) -> set[str]:
    """Ids that went with their user, in PostgreSQL or ClickHouse. Raises `TierError`."""
    values = {"user_id": scope.user_id}
    found = set(connection.execute(_OF_USERS, values).scalars())
    users = connection.execute(_USERS, values).all()
    for some in batches(users, _user_mark, ROOM):
        query = _ARCHIVED_OF_USERS.format(
            marks=", ".join(map(_user_mark, some)),
            users=", ".join(literal(one.user_id) for one in some),
        )
        with translated(), server.engine.connect() as asked:
            found |= {row.id for row in asked.exec_driver_sql(query)}
    return found


def resurrected(connection: Connection, server: ClickHouse, scope: Scope) -> set[str]:
    """Their ids, in PostgreSQL or ClickHouse. Raises `TierError`."""
    values = {"user_id": scope.user_id, "thread_id": scope.thread_id}
    found = set(connection.execute(_LIVE, values).scalars())
    purged = connection.execute(_PURGED, values).all()
    for some in batches(purged, _thread_mark, ROOM):
        found |= _archived(server, some)
    return found


def _user_mark(row: Row[Any]) -> str:
    return f"({literal(row.user_id)}, '{row.through}')"


def _thread_mark(row: Row[Any]) -> str:
    return f"({literal(row.user_id)}, {literal(row.thread_id)}, '{row.purged_through}')"


def _archived(server: ClickHouse, threads: list[Row[Any]]) -> set[str]:
    query = _ARCHIVED_LIVE.format(
        threads=", ".join(f"({literal(o.user_id)}, {literal(o.thread_id)})" for o in threads),
        marks=", ".join(map(_thread_mark, threads)),
    )
    with translated(), server.engine.connect() as connection:
        return {row.id for row in connection.exec_driver_sql(query)}
