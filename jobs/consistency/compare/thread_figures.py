"""What PostgreSQL says of its threads against the messages that there are.

Each database sums up a fingerprint of every thread's figures, by buckets; only the threads of
buckets that differ are fetched, and only those counted one by one. A live message counts wherever
it is; the newest message is the newest of all, tombstones included. Threads without a live message
have no figures worth comparing: their watermark alone says which of their tombstones count.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, text

from jobs.consistency.report import Scope
from models import ids
from storage.availability.hidden import Thread, archive_boundary
from storage.clickhouse.driver import ClickHouse, batches, literal, translated
from storage.clickhouse.fingerprints import Cut, clickhouse_where
from storage.postgres.tombstones import HIDDEN

BUCKETS = 256
BATCH_THREADS = 500

_POSTGRES = """
SELECT user_id, id AS thread_id,
       ('x' || left(md5(concat_ws(E'\\x1f', user_id, id)), 2))::bit(8)::int AS bucket,
       ('x' || left(md5(concat_ws(E'\\x1f', user_id, id, message_count,
           (extract(epoch FROM last_message_at) * 1000000)::bigint)), 16))::bit(64)::bigint AS mark
FROM threads WHERE message_count <> 0
  AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR id = :thread_id)"""
_CLICKHOUSE = r"""
SELECT user_id, thread_id,
       reinterpretAsUInt8(substring(MD5(concat(user_id, '\x1f', thread_id)), 1, 1)) AS bucket,
       reinterpretAsInt64(reverse(substring(MD5(concatWithSeparator('\x1f', user_id, thread_id,
           toString(live), toString(toUnixTimestamp64Micro(newest)))), 1, 8))) AS mark
FROM (
    SELECT user_id, thread_id, countIf(NOT gone) AS live, max(created_at) AS newest FROM (
        SELECT user_id, thread_id, created_at, argMax(is_deleted, (version, archived_at)) AS gone
        FROM messages WHERE {where} GROUP BY user_id, thread_id, created_at, id
    ) GROUP BY user_id, thread_id HAVING live > 0
)"""
_POSTGRES_BUCKETS = f"""
SELECT bucket, count(*) AS threads,
       (sum(mark) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 AS checksum
FROM ({_POSTGRES}) AS marked GROUP BY bucket"""  # noqa: S608
_CLICKHOUSE_BUCKETS = f"""
SELECT bucket, count() AS threads, sum(reinterpretAsUInt64(mark)) AS checksum
FROM ({_CLICKHOUSE}) GROUP BY bucket"""  # noqa: S608
_COUNT = text(
    """
SELECT count(*) FROM threads
WHERE (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR id = :thread_id)
"""
)
_EXACT = text(
    f"""
SELECT r.user_id, r.thread_id, coalesce(t.message_count, 0) AS message_count, t.last_message_at,
       greatest(t.deleted_through, e.erased_through)::text AS hidden_through,
       t.user_id IS NULL AS is_missing,
       e.user_id IS NOT NULL AND e.finished_at IS NULL AS is_in_erasure,
       count(m.id) FILTER (WHERE m.deleted_at IS NULL) AS live, max(m.created_at) AS newest,
       min(m.created_at) AS oldest
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
LEFT JOIN messages m ON m.user_id = r.user_id AND m.thread_id = r.thread_id AND NOT {HIDDEN}
GROUP BY r.user_id, r.thread_id, t.user_id, t.id, e.user_id
"""  # noqa: S608
)
_BELOW = text(
    """
SELECT m.id::text FROM messages m
JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
    ON m.user_id = r.user_id AND m.thread_id = r.thread_id
WHERE m.id < :boundary
"""
)
_ARCHIVED = """
SELECT user_id, thread_id, toString(id) AS name,
       argMax(is_deleted, (version, archived_at)) AS gone
FROM messages WHERE (user_id, thread_id) IN ({threads})
  AND created_at <= parseDateTime64BestEffort('{moment}', 6, 'UTC')
GROUP BY user_id, thread_id, id"""


class ThreadFigures(NamedTuple):
    """What a thread's row states, and what there is: live messages and the newest one's time, in
    microseconds since 1970. `has_row` is False where PostgreSQL lacks the thread itself;
    `is_in_erasure` says that it is about to lose it with its user."""

    stated_count: int
    stated_newest_us: int | None
    live: int
    newest_us: int | None
    oldest_us: int | None
    has_row: bool = True
    is_in_erasure: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the row states what there is."""
        if self.is_in_erasure or (self.live == 0 and self.stated_count == 0):
            return True
        return (self.stated_count, self.stated_newest_us) == (self.live, self.newest_us)


def thread_count(connection: Connection, scope: Scope) -> int:
    """How many threads PostgreSQL has."""
    values = {"user_id": scope.user_id, "thread_id": scope.thread_id}
    return int(connection.execute(_COUNT, values).scalar_one())


def suspicious(connection: Connection, server: ClickHouse, scope: Scope) -> set[Thread]:
    """The threads whose figures are not the same in both databases. Raises `TierError`."""
    values = {"user_id": scope.user_id, "thread_id": scope.thread_id}
    where = clickhouse_where(Cut(user_id=scope.user_id, thread_id=scope.thread_id))
    ours = {
        int(row.bucket): (int(row.threads), int(row.checksum))
        for row in connection.execute(text(_POSTGRES_BUCKETS), values)
    }
    with translated(), server.engine.connect() as archive:
        theirs = {
            int(row.bucket): (int(row.threads), int(row.checksum))
            for row in archive.exec_driver_sql(_CLICKHOUSE_BUCKETS.format(where=where))
        }
        differing = [
            name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
        ]
        if not differing:
            return set()
        buckets = ", ".join(map(str, sorted(differing)))
        marked = f"SELECT * FROM ({_CLICKHOUSE.format(where=where)}) WHERE bucket IN ({buckets})"  # noqa: S608
        archived = {
            (row.user_id, row.thread_id): int(row.mark) for row in archive.exec_driver_sql(marked)
        }
    query = text(f"SELECT * FROM ({_POSTGRES}) AS marked WHERE bucket IN ({buckets})")  # noqa: S608
    stated = {
        (row.user_id, row.thread_id): int(row.mark) for row in connection.execute(query, values)
    }
    return {
        name for name in stated.keys() | archived.keys() if stated.get(name) != archived.get(name)
    }


def figures(
    connection: Connection, server: ClickHouse, threads: Collection[Thread]
) -> dict[Thread, ThreadFigures]:
    """The figures of these threads, counted one by one. Raises `TierError`."""
    found: dict[Thread, ThreadFigures] = {}
    ordered = sorted(threads)
    for at in range(0, len(ordered), BATCH_THREADS):
        batch = ordered[at : at + BATCH_THREADS]
        named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in batch]
        values = {"threads": msgspec.json.encode(named).decode()}
        rows = connection.execute(_EXACT, values).all()
        values["boundary"] = archive_boundary(connection)
        alone = _archived_alone(connection, server, batch, values)
        for row in rows:
            thread = (row.user_id, row.thread_id)
            found[thread] = _figures(row, alone.get(thread, {}))
    return found


def _archived_alone(
    connection: Connection, server: ClickHouse, batch: Collection[Thread], values: dict[str, str]
) -> dict[Thread, dict[str, bool]]:
    """The messages of threads that ClickHouse alone has: by id, whether they are live."""
    boundary = values["boundary"]
    if boundary == ids.LOWEST:
        return {}
    here = set(connection.execute(_BELOW, values).scalars())
    # A whole millisecond further, since ids of one compare by their shard first.
    moment = ids.timestamp(ids.time_us_of(boundary) + 1_000)
    alone: dict[Thread, dict[str, bool]] = {}
    for some in batches(batch, _named):
        query = _ARCHIVED.format(threads=", ".join(map(_named, some)), moment=moment)
        with translated(), server.engine.connect() as archive:
            for row in archive.exec_driver_sql(query):
                if row.name < boundary and row.name not in here:
                    alone.setdefault((row.user_id, row.thread_id), {})[row.name] = not row.gone
    return alone


def _named(thread: Thread) -> str:
    user, name = thread
    return f"({literal(user)}, {literal(name)})"


def _figures(row: Row[Any], archived: Mapping[str, bool]) -> ThreadFigures:
    counted = {name: live for name, live in archived.items() if name > (row.hidden_through or "")}
    times = [ids.time_us_of(name) for name in counted]
    times += [ids.time_us(moment) for moment in (row.newest, row.oldest) if moment]
    stated = row.last_message_at
    return ThreadFigures(
        stated_count=int(row.message_count),
        stated_newest_us=ids.time_us(stated) if stated else None,
        live=int(row.live) + sum(counted.values()),
        newest_us=max(times, default=None),
        oldest_us=min(times, default=None),
        has_row=not row.is_missing,
        is_in_erasure=bool(row.is_in_erasure),
    )
