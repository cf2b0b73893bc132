"""PostgreSQL against ClickHouse: slices by their checksums, rows only where those differ."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from jobs.consistency.compare import hashes, watermarks
from jobs.consistency.report import Compared, Difference, Scope
from models import ids
from storage.clickhouse import fingerprints
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import WEEK_MS, Cut, Slice, SliceKey, week_begins
from storage.errors import TierUnavailable
from storage.postgres.driver import transact, translated
from storage.tiers import Tiers

SLICE_ROWS = 8_192
"""Rows of a slice at first, about: a line for each is all that leaves the databases."""

FINER = 128
"""Into so many slices one is cut that differs: few enough rows each to fetch their marks."""

CHUNK_ROWS = 1_000_000
"""Rows that one statement goes through, about: a few seconds' work."""

_SHORTEST_MS = 3_600_000
_END_MS = 1 << 48
_WEEKS = """
SELECT toInt64(intDiv(toUnixTimestamp64Milli(created_at) + {phase}, {width})) AS week,
       count() AS rows
FROM messages WHERE {where} GROUP BY week ORDER BY week"""


_NOTHING = Slice(0, 0)


def compare(tiers: Tiers, scope: Scope, boundary: str) -> Compared:
    """Compares all of time in chunks, one after the other, each row of ClickHouse with its own
    hash, and what is there with the marks of what was deleted. Rows below the boundary may be in
    ClickHouse alone. Raises `TierError`."""
    with translated(), tiers.job_engine.connect() as connection:
        deleted = watermarks.resurrected(connection, tiers.job_clickhouse, scope)
        deleted |= watermarks.of_erased_users(connection, tiers.job_clickhouse, scope)
    done = Compared(suspects=frozenset(deleted))
    for cut in _cuts(tiers.job_clickhouse, scope):
        damaged = frozenset(hashes.unsound(tiers.job_clickhouse, cut))
        done = done.joined(_compare(tiers, cut, boundary)).joined(Compared(suspects=damaged))
    return done


def _compare(tiers: Tiers, cut: Cut, boundary: str) -> Compared:
    try:
        return _compare_at_once(tiers, cut, boundary)
    except TierUnavailable as error:
        # Too much for one statement, as where ClickHouse has lost what it was cut by.
        middle = (cut.low_ms + min(cut.high_ms, ids.MAX_MICROSECONDS // 1000)) // 2
        if not error.passing or middle - cut.low_ms < _SHORTEST_MS:
            raise
    older, newer = cut._replace(high_ms=middle), cut._replace(low_ms=middle)
    return _compare(tiers, older, boundary).joined(_compare(tiers, newer, boundary))


def _compare_at_once(tiers: Tiers, cut: Cut, boundary: str) -> Compared:
    ours, theirs = _slices(tiers, cut)
    rows = sum(
        max(ours.get(key, _NOTHING).rows, theirs.get(key, _NOTHING).rows)
        for key in ours.keys() | theirs.keys()
    )
    differs = bool(_differing(ours, theirs, boundary))
    return Compared(rows, _suspects(tiers, cut, boundary) if differs else frozenset())


def _slices(tiers: Tiers, cut: Cut) -> tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]:
    """Both databases' slices, computed at the same time."""
    with ThreadPoolExecutor(1) as other:
        pending = other.submit(fingerprints.clickhouse_slices, tiers.job_clickhouse, cut)
        ours = transact(tiers.job_engine, fingerprints.postgres_slices, cut)
        return ours, pending.result()


def _suspects(tiers: Tiers, cut: Cut, boundary: str) -> frozenset[str]:
    finer = cut._replace(shares=min(fingerprints.MAX_SHARES, cut.shares * FINER))
    differing = _differing(*_slices(tiers, finer), boundary)
    ours = transact(tiers.job_engine, fingerprints.postgres_rows, finer, differing)
    theirs = fingerprints.clickhouse_rows(tiers.job_clickhouse, finer, differing)
    unlike = {name for name, _ in ours.items() ^ theirs.items()}
    return frozenset(name for name in unlike if name in ours or name >= boundary)


def lost_slices(server: ClickHouse, cut: Cut, expected: Mapping[SliceKey, int]) -> list[Difference]:
    """The slices of a cut in which ClickHouse has fewer rows than were archived. Newer versions
    change checksums, never counts. Raises `TierError`."""
    if not expected:
        return []
    found = fingerprints.clickhouse_slices(server, cut)
    return [
        Difference(
            "postgresql-clickhouse",
            "clickhouse",
            "lost",
            f"week {week_begins(key.period)}, share {key.share}",
            found=f"{found.get(key, _NOTHING).rows:,} of {rows:,} messages",
        )
        for key, rows in sorted(expected.items())
        if found.get(key, _NOTHING).rows < rows
    ]


def _differing(
    ours: Mapping[SliceKey, Slice], theirs: Mapping[SliceKey, Slice], boundary: str
) -> list[SliceKey]:
    """The slices that are not the same, without those below the boundary that ClickHouse alone
    has."""
    first = fingerprints.week_of(ids.time_us_of(boundary) // 1000)
    unlike = {key for key, _ in ours.items() ^ theirs.items()}
    return sorted(key for key in unlike if key in ours or key.period >= first)


def _cuts(server: ClickHouse, scope: Scope) -> list[Cut]:
    """All of time in chunks, by how much ClickHouse has of each week."""
    everything = Cut(user_id=scope.user_id, thread_id=scope.thread_id)
    where = fingerprints.clickhouse_where(everything)
    query = _WEEKS.format(phase=fingerprints.PHASE_MS, width=WEEK_MS, where=where)
    edges, rows, chunk = [0], [0], 0
    for week, count in (map(int, row) for row in server.rows(query)):
        if chunk + count > CHUNK_ROWS and chunk:
            edges.append(max(0, week * WEEK_MS - fingerprints.PHASE_MS))
            rows.append(0)
            chunk = 0
        chunk += count
        rows[-1] = max(rows[-1], count)
    return [
        everything._replace(
            low_ms=low,
            high_ms=high,
            shares=min(fingerprints.MAX_SHARES, max(1, fullest // SLICE_ROWS)),
        )
        for low, high, fullest in zip(edges, [*edges[1:], _END_MS], rows, strict=True)
    ]
