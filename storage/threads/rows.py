"""What PostgreSQL knows of a user's threads: pages of them, some by name, and their previews."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, TextClause, and_, func, or_, select, text

from models import ids
from models.tables import threads
from storage.availability.hidden import archive_boundary
from storage.postgres.reads import PostgresTier, ThreadRow, thread_of
from storage.threads.page import PREVIEW_READ, ThreadEntry, ThreadQuery

RECENT_THREADS = 5_000

# In the order of code points, as entries are compared in Python, whatever the database's own is.
_name = threads.c.id.collate("C")
_activity = func.coalesce(threads.c.last_message_at, threads.c.created_at)

# One statement, so that no commit comes between the count and what it leaves out.
_BELOW = text(
    """
SELECT r.name, t.message_count - (
    SELECT count(*) FROM messages m
    WHERE m.user_id = :user_id AND m.thread_id = r.name AND m.id >= r.base
      AND m.deleted_at IS NULL AND (t.deleted_through IS NULL OR m.id > t.deleted_through)
) AS below
FROM json_to_recordset(CAST(:rows AS json)) AS r (name text, base uuid)
JOIN threads t ON t.user_id = :user_id AND t.id = r.name
"""
)

# The newest message is mostly not deleted, and its time gives the partition. Else all are read.
_NEWEST = text(
    """
WITH erased AS (
    SELECT coalesce((SELECT erased_through FROM user_erasures WHERE user_id = :user_id),
                    CAST(:lowest AS uuid)) AS through
), last AS (
    SELECT r.name, greatest(r.mark, erased.through) AS mark, n.id, n.content
    FROM json_to_recordset(CAST(:rows AS json)) AS r (name text, mark uuid, low uuid, high uuid)
    CROSS JOIN erased LEFT JOIN LATERAL (
        SELECT m.id, left(m.content, :characters) AS content FROM messages m
        WHERE m.user_id = :user_id AND m.thread_id = r.name AND m.id BETWEEN r.low AND r.high
          AND m.deleted_at IS NULL AND m.id > greatest(r.mark, erased.through)
        ORDER BY m.id DESC LIMIT 1) n ON true
)
SELECT name, id::text, content, mark::text, true AS is_last FROM last WHERE id IS NOT NULL
UNION ALL
SELECT name, n.id::text, n.content, mark::text, false FROM last LEFT JOIN LATERAL (
    SELECT m.id, left(m.content, :characters) AS content FROM messages m
    WHERE m.user_id = :user_id AND m.thread_id = last.name
      AND m.deleted_at IS NULL AND m.id > last.mark
    ORDER BY m.id DESC LIMIT 1) n ON true
WHERE last.id IS NULL
"""
)
_SAME = text(
    """
SELECT id::text, left(content, :characters) AS content, deleted_at IS NOT NULL AS is_deleted
FROM messages WHERE user_id = :user_id AND id = ANY(CAST(:ids AS uuid[]))
"""
)
_RECENT = text(
    """
SELECT user_id FROM (
    SELECT user_id, last_message_at FROM threads
    WHERE last_message_at > now() - make_interval(secs => :seconds)
    ORDER BY last_message_at DESC LIMIT :threads) AS latest
GROUP BY user_id ORDER BY max(last_message_at) DESC LIMIT :users
"""
)


class CommittedThreads(NamedTuple):
    """The rows of a page, without those asked for by name; those; and the id below which messages
    may be in ClickHouse alone."""

    page: list[ThreadRow]
    named: dict[str, ThreadRow]
    boundary: str


class Newest(NamedTuple):
    """The newest live message that PostgreSQL has of a thread, and how it begins. With `is_last`
    there is none newer anywhere; `mark` is the id up to which the thread was deleted."""

    id: str | None
    content: str | None
    mark: str
    is_last: bool


class ThreadRows:
    """The read verbs of threads in PostgreSQL. Errors leave as `TierUnavailable` and
    `TierRejected`."""

    def __init__(self, postgres: PostgresTier) -> None:
        self._postgres = postgres

    def page(self, user_id: str, query: ThreadQuery, without: Sequence[str]) -> CommittedThreads:
        """One thread more than a page has, most recently active first. Those `without` which the
        page is read are given by name, deleted ones included."""
        conditions = [threads.c.user_id == user_id, threads.c.deleted_at.is_(None)]
        if without:
            conditions.append(threads.c.id != func.all(list(without)))
        if query.is_archived is not None:
            conditions.append(threads.c.is_archived == query.is_archived)
        if query.is_pinned is not None:
            conditions.append(threads.c.is_pinned == query.is_pinned)
        if query.cursor is not None:
            activity, name = query.cursor
            conditions.append(or_(_activity < activity, and_(_activity == activity, _name < name)))
        page = (
            select(threads)
            .where(*conditions)
            .order_by(_activity.desc(), _name.desc())
            .limit(query.limit + 1)
        )
        with self._postgres.as_user(user_id) as connection:
            rows = [thread_of(row) for row in connection.execute(page)]
            named = _named(connection, user_id, without)
            return CommittedThreads(rows, named, archive_boundary(connection))

    def named(self, user_id: str, names: Sequence[str]) -> CommittedThreads:
        """Threads by name, deleted ones included."""
        with self._postgres.as_user(user_id) as connection:
            named = _named(connection, user_id, names)
            return CommittedThreads([], named, archive_boundary(connection))

    def below(self, user_id: str, bases: Mapping[str, str]) -> dict[str, int]:
        """How many live messages threads have below an id of each: `{thread_id: count}`."""
        if not bases:
            return {}
        rows = [{"name": name, "base": base} for name, base in bases.items()]
        return {row.name: row.below for row in self._ask(user_id, _BELOW, rows=_json(rows))}

    def newest(self, user_id: str, rows: Iterable[ThreadRow]) -> dict[str, Newest]:
        """The newest message of each thread. Threads that never had one are left out."""
        asked = [_newest_wanted(row) for row in rows if row.last_message_at is not None]
        if not asked:
            return {}
        values = {"rows": _json(asked), "lowest": ids.LOWEST, "characters": PREVIEW_READ}
        found = self._ask(user_id, _NEWEST, **values)
        return {row.name: Newest(row.id, row.content, row.mark, row.is_last) for row in found}

    def copies(self, user_id: str, message_ids: Sequence[str]) -> dict[str, str | None]:
        """How some messages begin, None for deleted ones; those it does not have are left out."""
        found = self._ask(user_id, _SAME, ids=list(message_ids), characters=PREVIEW_READ)
        return {row.id: None if row.is_deleted else row.content for row in found}

    def active(self, seconds: int, most: int) -> list[str]:
        """The users who wrote lately, the latest first, among the threads written last."""
        values = {"seconds": seconds, "threads": RECENT_THREADS, "users": most}
        with self._postgres.as_operator() as connection:
            return list(connection.execute(_RECENT, values).scalars())

    def _ask(self, user_id: str, query: TextClause, **values: Any) -> Sequence[Row[Any]]:
        values |= {"user_id": user_id}
        with self._postgres.as_user(user_id) as connection:
            return connection.execute(query, values).all()


def entry_of(row: ThreadRow, preview: str | None) -> ThreadEntry:
    """A committed thread as an entry of a list."""
    return ThreadEntry(*row, preview)


def _named(connection: Connection, user_id: str, names: Sequence[str]) -> dict[str, ThreadRow]:
    if not names:
        return {}
    query = select(threads).where(
        threads.c.user_id == user_id, threads.c.id == func.any(list(names))
    )
    return {row.id: thread_of(row) for row in connection.execute(query)}


def _newest_wanted(row: ThreadRow) -> dict[str, Any]:
    low = ids.lowest(row.last_message_at or row.thread.created_at)
    return {
        "name": row.thread.id,
        "mark": row.thread.deleted_through or ids.LOWEST,
        "low": low,
        "high": ids.highest(ids.time_us_of(low)),
    }


def _json(rows: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
