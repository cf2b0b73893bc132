"""What messages say of threads, counted anew: how many there are, and when the last was made.

A batch of threads is counted while nobody drains or writes to its slots, so that the figure is of
one moment and everything later adds to it. What the archive alone has is counted in ClickHouse,
with nothing on its way there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, text

from jobs.recover.clickhouse_source import ArchivedCount, ClickHouseSource, Thread
from models import ids
from storage.clickhouse.driver import ClickHouse
from storage.postgres.driver import translated
from storage.postgres.locks import lock_slots
from storage.resilience.retries import retry_until_available

BATCH_THREADS = 500

_NEXT = text(
    """
SELECT user_id, id, deleted_through::text AS deleted_through FROM threads
WHERE (user_id, id) > (:user, :thread) ORDER BY user_id, id LIMIT :batch
"""
)
_COUNT = text(
    """
WITH counted AS (
    SELECT m.user_id, m.thread_id, max(m.created_at) AS last,
           count(*) FILTER (WHERE m.deleted_at IS NULL) AS messages
    FROM messages m JOIN threads t ON t.user_id = m.user_id AND t.id = m.thread_id
    WHERE (m.user_id, m.thread_id) BETWEEN (:user, :thread) AND (:last_user, :last_thread)
      AND m.id >= :boundary AND (t.deleted_through IS NULL OR m.id > t.deleted_through)
    GROUP BY m.user_id, m.thread_id
), archived AS (
    SELECT * FROM json_to_recordset(CAST(:archived AS json)) AS r (
        user_id text, thread_id text, messages bigint, last timestamptz)
), whole AS (
    SELECT t.user_id, t.id, greatest(c.last, a.last) AS last,
           coalesce(c.messages, 0) + coalesce(a.messages, 0) AS messages
    FROM threads t
    LEFT JOIN counted c ON c.user_id = t.user_id AND c.thread_id = t.id
    LEFT JOIN archived a ON a.user_id = t.user_id AND a.thread_id = t.id
    WHERE (t.user_id, t.id) BETWEEN (:user, :thread) AND (:last_user, :last_thread)
      AND t.deleted_at IS NULL
)
UPDATE threads t SET message_count = w.messages, last_message_at = w.last
FROM whole w
WHERE t.user_id = w.user_id AND t.id = w.id
  AND (t.message_count <> w.messages OR t.last_message_at IS DISTINCT FROM w.last)
"""
)
_TOTAL = text("SELECT count(*) FROM threads")
_NOTHING_IS_SHIPPED = text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:ship'))")
_BELOW = text(
    """
SELECT id::text AS id, version, deleted_at IS NULL AS is_live FROM messages
WHERE (user_id, thread_id) BETWEEN (:user, :thread) AND (:last_user, :last_thread)
  AND id < :boundary
"""
)


class ThreadCounter:
    """Counts every thread's messages. Safe to repeat, and beside live traffic."""

    def __init__(self, engine: Engine, server: ClickHouse, slots: int) -> None:
        self._engine = engine
        self._source = ClickHouseSource(server)
        self._slots = slots

    def total(self) -> int:
        """How many threads there are."""
        with translated(), self._engine.connect() as connection:
            return int(connection.execute(_TOTAL).scalar_one())

    def run(self, boundary: str) -> Iterator[int]:
        """Counts all; yields for each batch how many threads it had. Raises `TierError`.

        `boundary` is the archive's: below it ClickHouse has messages that PostgreSQL lacks.
        """
        after = ("", "")
        while True:
            threads = retry_until_available(self._next, after)
            if not threads:
                return
            retry_until_available(self._count, threads, boundary)
            yield len(threads)
            after = (threads[-1].user_id, threads[-1].id)

    def _next(self, after: Thread) -> Sequence[Row[Any]]:
        values = {"user": after[0], "thread": after[1], "batch": BATCH_THREADS}
        with translated(), self._engine.begin() as connection:
            return connection.execute(_NEXT, values).all()

    def _count(self, threads: Sequence[Row[Any]], boundary: str) -> None:
        values = {
            "user": threads[0].user_id,
            "thread": threads[0].id,
            "last_user": threads[-1].user_id,
            "last_thread": threads[-1].id,
            "boundary": boundary,
        }
        slots = {ids.shard_of(row.user_id, row.id) % self._slots for row in threads}
        with translated(), self._engine.begin() as connection:
            lock_slots(connection, slots)
            archived = "[]"
            if boundary != ids.LOWEST:
                connection.execute(_NOTHING_IS_SHIPPED)
                marks = {(row.user_id, row.id): row.deleted_through for row in threads}
                below = connection.execute(_BELOW, values).all()
                archived = _json(self._archived(marks, boundary, below))
            connection.execute(_COUNT, values | {"archived": archived})

    def _archived(
        self, marks: Mapping[Thread, str | None], boundary: str, below: Sequence[Row[Any]]
    ) -> dict[Thread, ArchivedCount]:
        """What ClickHouse has of these threads below the boundary, with the versions that it does
        not know yet, which `below` has, in place of its own."""
        newer = {row.id: (int(row.version), bool(row.is_live)) for row in below}
        counts = self._source.counts(marks, boundary)
        for known in self._source.states(list(newer)):
            mark = marks.get(known.thread)
            version, is_live = newer[known.id]
            if version > known.version and (mark is None or known.id > mark):
                found = counts.get(known.thread, ArchivedCount(0, known.created_at))
                change = int(is_live) - int(known.is_live)
                counts[known.thread] = found._replace(messages=found.messages + change)
        return counts


def _json(counts: Mapping[Thread, ArchivedCount]) -> str:
    rows = [
        {"user_id": user_id, "thread_id": thread_id, "messages": one.messages, "last": one.last}
        for (user_id, thread_id), one in counts.items()
    ]
    return msgspec.json.encode(rows).decode()
