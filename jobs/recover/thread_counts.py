"""Counts anew how many messages of threads are live, and when the first and the last were made. The
newest message may be a tombstone. What the archive alone has is counted in ClickHouse."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from jobs.recover.runs import OnProgress
from jobs.replicate.message_outbox import SHIP_LOCK
from models import codec, ids
from storage.availability.hidden import Thread, archive_boundary
from storage.clickhouse.driver import LIST_BYTES, ClickHouse, batches, literals
from storage.clickhouse.rows import LATEST_US, RANK
from storage.postgres.driver import execute, rows_of, translated
from storage.postgres.locks import lock, lock_slots
from storage.postgres.tombstones import HIDDEN
from storage.resilience import bites
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

BATCH_THREADS = 500

_NEXT = """
SELECT user_id, id FROM threads
WHERE (user_id, id) > (:user, :thread) ORDER BY user_id, id LIMIT :batch
"""
_TOTAL = "SELECT count(*) FROM threads"
_COMMITTED = f"""
SELECT r.user_id, r.thread_id, coalesce(t.message_count, 0) AS message_count, t.last_message_at,
       greatest(t.deleted_through, e.erased_through)::text AS hidden_through,
       e.user_id IS NOT NULL AND e.finished_at IS NULL AS is_in_erasure,
       count(m.id) FILTER (WHERE m.deleted_at IS NULL) AS live, max(m.created_at) AS newest,
       min(m.created_at) AS oldest
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
LEFT JOIN messages m ON m.user_id = r.user_id AND m.thread_id = r.thread_id AND NOT {HIDDEN}
GROUP BY r.user_id, r.thread_id, t.user_id, t.id, e.user_id
"""  # noqa: S608
_BELOW = """
SELECT m.id::text FROM messages m
JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
    ON m.user_id = r.user_id AND m.thread_id = r.thread_id
WHERE m.id < :boundary
"""
_ARCHIVED = f"""
SELECT m.user_id AS user_id, m.thread_id AS thread_id, countIf(NOT gone) AS live,
       min(name) AS oldest, max(name) AS newest
FROM (
    SELECT user_id, thread_id, toString(id) AS name, argMax(is_deleted, {RANK}) AS gone
    FROM messages WHERE (user_id, thread_id) IN ({{threads}}) AND {{ids}}
        AND created_at <= parseDateTime64BestEffort('{{moment}}', 6, 'UTC')
    GROUP BY user_id, thread_id, id
) AS m INNER JOIN (
    SELECT arrayJoin([{{marks}}]) AS mark, mark.1 AS user_id, mark.2 AS thread_id, mark.3 AS through
) AS w ON m.user_id = w.user_id AND m.thread_id = w.thread_id
WHERE name > w.through AND name < '{{below}}' GROUP BY user_id, thread_id"""  # noqa: S608
# What is live above a watermark has opened its thread anew.
_STATE = """
INSERT INTO threads (user_id, id, created_at, updated_at, version, last_message_at, message_count)
SELECT user_id, thread_id, coalesce(oldest, now()), coalesce(oldest, now()), 1, newest, live
FROM json_to_recordset(CAST(:threads AS json)) AS r (
    user_id text, thread_id text, live bigint, oldest_us bigint, newest_us bigint),
LATERAL (SELECT 'epoch'::timestamptz + oldest_us * interval '1 microsecond' AS oldest,
                'epoch'::timestamptz + newest_us * interval '1 microsecond' AS newest) AS times
ORDER BY user_id, thread_id
ON CONFLICT (user_id, id) DO UPDATE SET
    message_count = excluded.message_count, last_message_at = excluded.last_message_at,
    created_at = CASE WHEN threads.deleted_at IS NOT NULL AND excluded.message_count > 0
                      THEN excluded.created_at ELSE threads.created_at END,
    deleted_at = CASE WHEN excluded.message_count > 0 THEN NULL ELSE threads.deleted_at END
"""


class ThreadFigures(NamedTuple):
    """What a thread's row states, and what there is: live messages and the times of the newest and
    the oldest message, in microseconds since 1970. `is_in_erasure` says that PostgreSQL is about
    to lose the thread with its user."""

    stated_count: int
    stated_newest_us: int | None
    live: int
    newest_us: int | None
    oldest_us: int | None
    is_in_erasure: bool = False

    @property
    def is_stated(self) -> bool:
        """Whether the row states what there is, or need not."""
        stated = (self.stated_count, self.stated_newest_us) == (self.live, self.newest_us)
        return stated or self.is_in_erasure

    @property
    def is_right(self) -> bool:
        """The same, without the times of threads that have no live message: their watermark alone
        says which of their tombstones count."""
        return self.is_stated or (self.live == 0 and self.stated_count == 0)


class _Archived(NamedTuple):
    """Of a thread's messages in ClickHouse how many are live, and the lowest and highest id."""

    live: int = 0
    oldest: str | None = None
    newest: str | None = None


class ThreadCounter:
    """Has threads state what their messages say. Safe to repeat, and in live traffic.

    A batch of threads is counted while nobody drains or writes to its slots, and nothing is
    shipped: the figures are of one moment, and everything later adds to them.
    """

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def run(self, boundary: str, on_progress: OnProgress) -> int:
        """Counts all; gives how many threads there are. Below `boundary` ClickHouse has messages
        that PostgreSQL lacks. Raises `TierError`."""
        ((total,),) = retry_until_available(rows_of, self._tiers.job_engine, _TOTAL)
        done, after = 0, ("", "")
        while threads := retry_until_available(self._next, after):
            retry_until_available(self._count, threads, boundary)
            done, after = done + len(threads), threads[-1]
            on_progress("threads", done, max(done, total))
        return done

    def correct(self, threads: Sequence[Thread]) -> None:
        """Counts those of some threads that state what is wrong. Raises `TierError`."""
        for batch in bites.batches(threads, BATCH_THREADS):
            self._count(batch)

    def _next(self, after: Thread) -> list[Thread]:
        values = {"user": after[0], "thread": after[1], "batch": BATCH_THREADS}
        return [(row.user_id, row.id) for row in rows_of(self._tiers.job_engine, _NEXT, values)]

    def _count(self, threads: Sequence[Thread], boundary: str | None = None) -> None:
        slots = {ids.shard_of(*thread) % self._tiers.settings.shards for thread in threads}
        with translated(), self._tiers.job_engine.begin() as connection:
            lock_slots(connection, slots)
            if boundary != ids.LOWEST:
                lock(connection, SHIP_LOCK)
            found = figures(connection, self._tiers.job_clickhouse, threads, boundary)
            wrong = [
                each._asdict() | {"user_id": user_id, "thread_id": thread_id}
                for (user_id, thread_id), each in found.items()
                if not (each.is_right if boundary is None else each.is_stated)
            ]
            if wrong:
                execute(connection, _STATE, threads=codec.text(wrong))


def figures(
    connection: Connection,
    server: ClickHouse,
    threads: Collection[Thread],
    boundary: str | None = None,
) -> dict[Thread, ThreadFigures]:
    """The figures of these threads, counted one by one; below the archive's boundary, or another,
    ClickHouse's messages count too. Raises `TierError`."""
    found: dict[Thread, ThreadFigures] = {}
    for batch in bites.batches(sorted(threads), BATCH_THREADS):
        given = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in batch]
        values = {"threads": codec.text(given)}
        rows = execute(connection, _COMMITTED, values).all()
        # Asked after the rows, as it moves before they leave PostgreSQL.
        below = boundary or archive_boundary(connection)
        marks = {(row.user_id, row.thread_id): row.hidden_through or ids.LOWEST for row in rows}
        archived = {}
        if below != ids.LOWEST:
            here = execute(connection, _BELOW, values | {"boundary": below}).scalars().all()
            archived = _archived(server, marks, below, here)
        for row in rows:
            thread = (row.user_id, row.thread_id)
            found[thread] = _figures(row, archived.get(thread, _Archived()))
    return found


def _figures(row: Row[Any], archived: _Archived) -> ThreadFigures:
    times = [ids.time_us_of(name) for name in (archived.oldest, archived.newest) if name]
    times += [ids.time_us(moment) for moment in (row.oldest, row.newest) if moment]
    stated = row.last_message_at
    return ThreadFigures(
        stated_count=int(row.message_count),
        stated_newest_us=ids.time_us(stated) if stated else None,
        live=int(row.live) + archived.live,
        newest_us=max(times, default=None),
        oldest_us=min(times, default=None),
        is_in_erasure=bool(row.is_in_erasure),
    )


def _archived(
    server: ClickHouse, marks: Mapping[Thread, str], below: str, here: Sequence[str]
) -> dict[Thread, _Archived]:
    """What ClickHouse has of threads, above a mark of each and below a boundary. Of messages that
    are also in PostgreSQL, which `here` names, none is counted as live."""
    found: dict[Thread, _Archived] = {}
    # A query names threads twice, and ids beside them.
    for some in batches(marks.items(), _mark, LIST_BYTES // 3):
        query = partial(
            _ARCHIVED.format,
            threads=", ".join(literals(*thread) for thread, _ in some),
            marks=", ".join(map(_mark, some)),
            # A whole millisecond further, since ids of one compare by their shard first.
            moment=ids.timestamp(min(ids.time_us_of(below) + 1_000, LATEST_US)),
            below=below,
        )
        for row in server.rows(query(ids="true")):
            found[row.user_id, row.thread_id] = _Archived(int(row.live), row.oldest, row.newest)
        for names in batches(here, "'{}'".format, LIST_BYTES // 3):
            for row in server.rows(query(ids=f"id IN ({', '.join(map(repr, names))})")):
                alone = found[row.user_id, row.thread_id]
                found[row.user_id, row.thread_id] = alone._replace(live=alone.live - int(row.live))
    return found


def _mark(item: tuple[Thread, str]) -> str:
    (user_id, thread_id), through = item
    return literals(user_id, thread_id, through)
