"""Messages that are there although they went with their thread or their user, of whom the deletion
is carried out."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from jobs.consistency.report import Scope
from storage.clickhouse.driver import LIST_BYTES, ClickHouse, batches, literals
from storage.clickhouse.rows import RANK
from storage.postgres.driver import execute

_IN_SCOPE = """
  AND (CAST(:user_id AS text) IS NULL OR t.user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR t.id = :thread_id)"""
_PURGED = (
    "SELECT t.user_id, t.id AS thread_id, t.purged_through::text AS through FROM threads t"  # noqa: S608
    f" WHERE t.purged_through IS NOT NULL {_IN_SCOPE}"
)
_LIVE = f"""
SELECT m.id::text FROM threads t JOIN messages m ON m.user_id = t.user_id AND m.thread_id = t.id
WHERE m.id <= t.erased_through AND m.deleted_at IS NULL {_IN_SCOPE}"""  # noqa: S608
_ERASED = """FROM user_erasures e
WHERE e.finished_at IS NOT NULL AND (CAST(:user_id AS text) IS NULL OR e.user_id = :user_id)"""
_USERS = f"SELECT e.user_id, e.erased_through::text AS through {_ERASED}"
_OF_USERS = f"""
SELECT m.id::text FROM messages m JOIN (SELECT e.user_id, e.erased_through {_ERASED}) e
    ON m.user_id = e.user_id AND m.id <= e.erased_through"""  # noqa: S608
# Of threads tombstones stay, of users nothing does.
_ARCHIVED_OF_THREADS = f"""
SELECT toString(m.id) AS id FROM (
    SELECT id, user_id, thread_id, argMax(is_deleted, {RANK}) AS gone
    FROM messages WHERE (user_id, thread_id) IN ({{names}}) GROUP BY id, user_id, thread_id
) AS m INNER JOIN (
    SELECT arrayJoin([{{marks}}]) AS mark, mark.1 AS user_id, mark.2 AS thread_id, mark.3 AS through
) AS w ON m.user_id = w.user_id AND m.thread_id = w.thread_id
WHERE NOT gone AND toString(m.id) <= w.through"""  # noqa: S608
_ARCHIVED_OF_USERS = """
SELECT DISTINCT toString(m.id) AS id FROM messages AS m INNER JOIN (
    SELECT arrayJoin([{marks}]) AS mark, mark.1 AS user_id, mark.2 AS through
) AS w ON m.user_id = w.user_id
WHERE m.user_id IN ({names}) AND toString(m.id) <= w.through"""


def of_erased_users(connection: Connection, server: ClickHouse, scope: Scope) -> set[str]:
    """Ids that went with their user, in PostgreSQL or ClickHouse. Raises `TierError`."""
    found = set(execute(connection, _OF_USERS, scope.values).scalars())
    users = execute(connection, _USERS, scope.values).all()
    return found | _archived(server, _ARCHIVED_OF_USERS, users)


def resurrected(connection: Connection, server: ClickHouse, scope: Scope) -> set[str]:
    """Ids that went with their thread, in PostgreSQL or ClickHouse. Raises `TierError`."""
    found = set(execute(connection, _LIVE, scope.values).scalars())
    threads = execute(connection, _PURGED, scope.values).all()
    return found | _archived(server, _ARCHIVED_OF_THREADS, threads)


def _archived(server: ClickHouse, query: str, marked: Sequence[Row[Any]]) -> set[str]:
    found: set[str] = set()
    # A query names them twice.
    for some in batches(marked, lambda row: literals(*row), LIST_BYTES // 2):
        names = ", ".join(literals(*row[:-1]) for row in some)
        marks = ", ".join(literals(*row) for row in some)
        found |= {row.id for row in server.rows(query.format(names=names, marks=marks))}
    return found
