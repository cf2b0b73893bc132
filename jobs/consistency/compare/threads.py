"""Names the threads of PostgreSQL that state wrong figures: each database sums up fingerprints of
them by 256 buckets, and only the threads of buckets that differ are counted. Threads of wrong rows
are left out: such a row makes right figures seem wrong, and its repair counts them anew."""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Row

from jobs.consistency.judge.confirmation import confirmed
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Compared, Difference, Scope
from jobs.recover.thread_counts import ThreadFigures, figures
from storage.availability.hidden import Thread
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import Cut, clickhouse_where
from storage.clickhouse.rows import RANK
from storage.postgres.driver import execute, transact, translated
from storage.tiers import Tiers

_IN_SCOPE = """(CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR id = :thread_id)"""
_POSTGRES = rf"""
SELECT user_id, id AS thread_id,
       ('x' || left(md5(concat_ws(E'\x1f', user_id, id)), 2))::bit(8)::int AS bucket,
       ('x' || left(md5(concat_ws(E'\x1f', user_id, id, message_count,
           (extract(epoch FROM last_message_at) * 1000000)::bigint)), 16))::bit(64)::bigint AS mark
FROM threads WHERE message_count <> 0 AND {_IN_SCOPE}"""  # noqa: S608
_CLICKHOUSE = rf"""
SELECT user_id, thread_id,
       reinterpretAsUInt8(substring(MD5(concat(user_id, '\x1f', thread_id)), 1, 1)) AS bucket,
       reinterpretAsInt64(reverse(substring(MD5(concatWithSeparator('\x1f', user_id, thread_id,
           toString(live), toString(toUnixTimestamp64Micro(newest)))), 1, 8))) AS mark
FROM (
    SELECT user_id, thread_id, countIf(NOT gone) AS live, max(created_at) AS newest FROM (
        SELECT user_id, thread_id, created_at, argMax(is_deleted, {RANK}) AS gone
        FROM messages WHERE {{where}} GROUP BY user_id, thread_id, created_at, id
    ) GROUP BY user_id, thread_id HAVING live > 0
)"""  # noqa: S608
_POSTGRES_BUCKETS = f"""
SELECT bucket, count(*) AS threads,
       (sum(mark) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 AS checksum
FROM ({_POSTGRES}) AS marked GROUP BY bucket"""  # noqa: S608
_CLICKHOUSE_BUCKETS = f"""
SELECT bucket, count() AS threads, sum(reinterpretAsUInt64(mark)) AS checksum
FROM ({_CLICKHOUSE}) GROUP BY bucket"""  # noqa: S608
_COUNT = f"SELECT count(*) FROM threads WHERE {_IN_SCOPE}"  # noqa: S608


def compare(
    tiers: Tiers, drain_pipeline: Callable[[], None], scope: Scope, verdicts: Iterable[CopyVerdict]
) -> Compared:
    """Compares the figures of all threads of a scope; a thread is named when two readings find the
    same. Raises `TierError`."""
    wrong_rows = (one for one in verdicts if one.truth and one.wrong.keys() - {"redis"})
    unsure = {thread for one in wrong_rows for thread in one.copies.marks}
    with translated(), tiers.job_engine.connect() as connection:
        compared = execute(connection, _COUNT, scope.values).scalar_one()
        suspects = _suspicious(connection, tiers.job_clickhouse, scope) - unsure

    def wrong() -> set[tuple[Thread, ThreadFigures]]:
        found = transact(tiers.job_engine, figures, tiers.job_clickhouse, suspects)
        return {(thread, each) for thread, each in found.items() if not each.is_right}

    named = sorted(confirmed(wrong, drain_pipeline))
    return Compared(compared, differences=tuple(_difference(*one) for one in named))


def _suspicious(connection: Connection, server: ClickHouse, scope: Scope) -> set[Thread]:
    """The threads whose figures are not the same in both databases. Raises `TierError`."""
    where = clickhouse_where(Cut(user_id=scope.user_id, thread_id=scope.thread_id))
    ours = _sums(execute(connection, _POSTGRES_BUCKETS, scope.values))
    theirs = _sums(server.rows(_CLICKHOUSE_BUCKETS.format(where=where)))
    differing = sorted({bucket for bucket, *_ in ours ^ theirs})
    if not differing:
        return set()
    marked = f" WHERE bucket IN ({', '.join(map(str, differing))})"
    archived = server.rows(f"SELECT * FROM ({_CLICKHOUSE.format(where=where)}) {marked}")  # noqa: S608
    query = f"SELECT * FROM ({_POSTGRES}) AS marked {marked}"  # noqa: S608
    stated = execute(connection, query, scope.values)
    return {thread for thread, _ in _marks(stated) ^ _marks(archived)}


def _sums(rows: Iterable[Row[Any]]) -> set[tuple[int, int, int]]:
    return {(int(row.bucket), int(row.threads), int(row.checksum)) for row in rows}


def _marks(rows: Iterable[Row[Any]]) -> set[tuple[Thread, int]]:
    return {((row.user_id, row.thread_id), int(row.mark)) for row in rows}


def _difference(thread: Thread, found: ThreadFigures) -> Difference:
    what = f"states {found.stated_count} messages, has {found.live}"
    if found.stated_count == found.live:
        what = "states another time of its newest message"
    return Difference("threads", "postgresql", "miscounted", "/".join(thread), *thread, what)
