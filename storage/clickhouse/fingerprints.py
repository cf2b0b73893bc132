"""Counts and checksums of slices of messages, computed inside PostgreSQL and ClickHouse alike.

A row's fingerprint is the first half of an MD5 over every column that both tiers keep. A slice is
a period of time and one of some equal shares of its ids; its checksum is the sum of its rows'
fingerprints modulo 2^64. Two tiers that give the same count and checksum for a slice hold the same
rows.

Periods begin at whole milliseconds, where the order of ids and the order of times agree.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from models import ids
from storage.clickhouse.driver import EVERY_ROW, ClickHouse, batches, literal
from storage.clickhouse.rows import RANK

WEEK_MS = 7 * 24 * 3600 * 1000
PHASE_MS = 3 * 24 * 3600 * 1000
"""1970 began on a Thursday; periods of a week begin on Monday, as partitions do."""

MAX_SHARES = 65_536

MOST_NAMED = 4_000
"""Ids that one query of ClickHouse names: their text has room in a statement."""

_POSTGRES_ROW = r"""
('x' || left(md5(concat_ws(E'\x1f', id, user_id, thread_id, role, version,
    (extract(epoch FROM created_at) * 1000000)::bigint,
    (extract(epoch FROM updated_at) * 1000000)::bigint,
    coalesce((extract(epoch FROM deleted_at) * 1000000)::bigint, 0),
    content_hash, metadata, content)), 16))::bit(64)::bigint"""
_CLICKHOUSE_ROW = r"""
reinterpretAsInt64(reverse(substring(MD5(concatWithSeparator('\x1f',
    toString(id), user_id, thread_id, role, toString(version),
    toString(toUnixTimestamp64Micro(created_at)), toString(toUnixTimestamp64Micro(updated_at)),
    toString(ifNull(toUnixTimestamp64Micro(deleted_at), 0)),
    content_hash, metadata, content)), 1, 8)))"""

_POSTGRES_WHERE = """id >= :low AND id <= :high
    AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
    AND (CAST(:thread_id AS text) IS NULL OR thread_id = :thread_id)"""
_POSTGRES_PERIOD = (
    "(('x' || left(id::text, 8) || substr(id::text, 10, 4))::bit(48)::bigint + {phase}) / {width}"
)
_CLICKHOUSE_PERIOD = "intDiv(toUnixTimestamp64Milli(created_at) + {phase}, {width})"
_POSTGRES_SHARE = "('x' || right(id::text, 4))::bit(16)::int % {shares}"
_CLICKHOUSE_SHARE = "modulo(reinterpretAsUInt16(reverse(unhex(right(toString(id), 4)))), {shares})"

_POSTGRES_SLICES = f"""
SELECT {_POSTGRES_PERIOD} AS period, {_POSTGRES_SHARE} AS share, count(*) AS rows,
       (sum({_POSTGRES_ROW}) % 18446744073709551616 + 18446744073709551616)
           % 18446744073709551616 AS checksum
FROM {{table}} WHERE {_POSTGRES_WHERE} GROUP BY 1, 2"""  # noqa: S608
_CLICKHOUSE_SLICES = f"""
SELECT period, share, count() AS rows, sum(reinterpretAsUInt64(mark)) AS checksum
FROM (
    SELECT {_CLICKHOUSE_PERIOD} AS period, {_CLICKHOUSE_SHARE} AS share,
           argMax({_CLICKHOUSE_ROW}, {RANK}) AS mark
    FROM messages WHERE {{where}} GROUP BY id, period, share
)
GROUP BY period, share"""  # noqa: S608
_CLICKHOUSE_COUNTS = f"""
SELECT {_CLICKHOUSE_PERIOD} AS period, {_CLICKHOUSE_SHARE} AS share, uniqExact(id) AS rows
FROM messages WHERE {{where}} GROUP BY period, share
{EVERY_ROW}"""  # noqa: S608

_POSTGRES_MARKS = f"""
SELECT id::text AS name, version AS newest, deleted_at IS NOT NULL AS deleted,
       {_POSTGRES_ROW} AS mark
FROM {{table}} WHERE """  # noqa: S608
_CLICKHOUSE_MARKS = f"""
SELECT toString(id) AS name, max(version) AS newest, argMax(is_deleted, {RANK}) AS deleted,
       argMax({_CLICKHOUSE_ROW}, {RANK}) AS mark
FROM messages WHERE {{where}} GROUP BY id"""  # noqa: S608
# One number for each slice, since PostgreSQL hashes only lists of single values.
_POSTGRES_OF_SLICES = (
    f"{_POSTGRES_MARKS} {_POSTGRES_WHERE}"
    f" AND ({_POSTGRES_PERIOD}) * {MAX_SHARES} + {_POSTGRES_SHARE} = ANY(:slices)"
)
_CLICKHOUSE_OF_SLICES = f"({_CLICKHOUSE_PERIOD}, {_CLICKHOUSE_SHARE}) IN ({{slices}})"


class Cut(NamedTuple):
    """What is sliced, and how: ids with `low_ms` <= milliseconds < `high_ms`, in periods of
    `width_ms`, each in `shares` by the ids' random end. `table` is PostgreSQL's, which may be one
    partition, also a detached one. Of one user, of one thread's name, of both, or all."""

    low_ms: int = 0
    high_ms: int = 1 << 48
    width_ms: int = WEEK_MS
    shares: int = 1
    table: str = "messages"
    user_id: str | None = None
    thread_id: str | None = None


class SliceKey(NamedTuple):
    """Which slice of a cut: the period's number since Monday, 1969-12-29, and the share."""

    period: int
    share: int


class Slice(NamedTuple):
    """How many rows, tombstones included, and the sum of their fingerprints modulo 2^64."""

    rows: int
    checksum: int


class RowMark(NamedTuple):
    """A row without its content. Fingerprints are signed, as 64 bits."""

    version: int
    is_deleted: bool
    fingerprint: int


def week_of(moment_ms: int) -> int:
    """The period of a millisecond, in periods of a week."""
    return (moment_ms + PHASE_MS) // WEEK_MS


def week_begins(period: int) -> str:
    """The date of the Monday on which a period of a week begins."""
    return ids.timestamp(max(0, period * WEEK_MS - PHASE_MS) * 1000)[:10]


def postgres_slices(connection: Connection, cut: Cut) -> dict[SliceKey, Slice]:
    """The slices of PostgreSQL that hold rows."""
    return _slices(connection.execute(text(_filled(_POSTGRES_SLICES, cut)), _values(cut)))


def clickhouse_slices(server: ClickHouse, cut: Cut) -> dict[SliceKey, Slice]:
    """The slices of ClickHouse that hold rows, of each id the newest. Raises `TierError`."""
    return _slices(server.rows(_filled(_CLICKHOUSE_SLICES, cut, where=clickhouse_where(cut))))


def clickhouse_counts(server: ClickHouse, cut: Cut, condition: str) -> dict[SliceKey, int]:
    """How many messages of each slice meet a condition, hidden rows included. Raises
    `TierError`."""
    where = f"{clickhouse_where(cut)} AND ({condition})"
    rows = server.rows(_filled(_CLICKHOUSE_COUNTS, cut, where=where))
    return {SliceKey(int(row.period), int(row.share)): int(row.rows) for row in rows}


def postgres_rows(
    connection: Connection, cut: Cut, slices: Collection[SliceKey]
) -> dict[str, RowMark]:
    """The rows of these slices of PostgreSQL, by id."""
    if not slices:
        return {}
    wanted = [period * MAX_SHARES + share for period, share in slices]
    values = _values(cut) | {"slices": wanted}
    return _marks(connection.execute(text(_filled(_POSTGRES_OF_SLICES, cut)), values))


def clickhouse_rows(
    server: ClickHouse, cut: Cut, slices: Collection[SliceKey]
) -> dict[str, RowMark]:
    """The rows of these slices of ClickHouse, by id; the newest version of each."""
    found: dict[str, RowMark] = {}
    for some in batches(slices, _pair):
        of_slices = _filled(_CLICKHOUSE_OF_SLICES, cut, slices=", ".join(map(_pair, some)))
        where = f"{clickhouse_where(cut)} AND {of_slices}"
        found |= _marks(server.rows(_CLICKHOUSE_MARKS.format(where=where)))
    return found


def postgres_rows_of(
    connection: Connection, table: str, message_ids: Sequence[str]
) -> dict[str, RowMark]:
    """The rows of these ids in a table of PostgreSQL, by id."""
    query = f"{_POSTGRES_MARKS} id = ANY(CAST(:ids AS uuid[]))".format(table=table)
    return _marks(connection.execute(text(query), {"ids": list(message_ids)}))


def clickhouse_rows_of(server: ClickHouse, message_ids: Sequence[str]) -> dict[str, RowMark]:
    """The rows of at most `MOST_NAMED` ids in ClickHouse, by id; the newest version of each."""
    if not message_ids:
        return {}
    return _marks(server.rows(_CLICKHOUSE_MARKS.format(where=named(message_ids))))


def named(message_ids: Sequence[str]) -> str:
    """ClickHouse's condition for rows of these ids, by which it skips other months and granules."""
    moments = [ids.time_us_of(message_id) // 1000 for message_id in message_ids]
    literals = ", ".join(f"'{uuid.UUID(message_id)}'" for message_id in message_ids)
    return f"{_between(min(moments), max(moments) + 1)} AND messages.id IN ({literals})"


def clickhouse_where(cut: Cut) -> str:
    """Which rows of ClickHouse a cut is about, as a condition without anybody's own text in it."""
    conditions = [_between(cut.low_ms, cut.high_ms)]
    for column, value in (("user_id", cut.user_id), ("thread_id", cut.thread_id)):
        if value is not None:
            conditions.append(f"{column} = {literal(value)}")
    return " AND ".join(conditions)


def _slices(rows: Iterable[Row[Any]]) -> dict[SliceKey, Slice]:
    return {
        SliceKey(int(row.period), int(row.share)): Slice(int(row.rows), int(row.checksum))
        for row in rows
    }


def _marks(rows: Iterable[Row[Any]]) -> dict[str, RowMark]:
    return {row.name: RowMark(int(row.newest), bool(row.deleted), int(row.mark)) for row in rows}


def _filled(query: str, cut: Cut, **own: str) -> str:
    if not 1 <= cut.shares <= MAX_SHARES:
        raise ValueError(f"a period has 1 to {MAX_SHARES} shares")
    return query.format(
        table=cut.table, width=cut.width_ms, phase=PHASE_MS, shares=cut.shares, **own
    )


def _pair(key: SliceKey) -> str:
    return f"({key.period:d}, {key.share:d})"


def _between(low_ms: int, high_ms: int) -> str:
    # The ends of time as DateTime64 knows them; ClickHouse skips the months outside.
    high_ms = min(high_ms, ids.MAX_MICROSECONDS // 1000)
    return (
        f"messages.created_at >= fromUnixTimestamp64Milli(toInt64({low_ms}), 'UTC')"
        f" AND messages.created_at < fromUnixTimestamp64Milli(toInt64({high_ms}), 'UTC')"
    )


def _values(cut: Cut) -> dict[str, str | None]:
    low = f"{cut.low_ms:012x}"
    # The last id before the end, so that the end of all time has one too.
    high = f"{cut.high_ms - 1:012x}"
    return {
        "low": f"{low[:8]}-{low[8:]}-0000-0000-000000000000",
        "high": f"{high[:8]}-{high[8:]}-ffff-ffff-ffffffffffff",
        "user_id": cut.user_id,
        "thread_id": cut.thread_id,
    }
