"""PostgreSQL against ClickHouse: slices by their checksums, rows only where those differ."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sqlalchemy import Engine

from jobs.consistency.report import Scope
from models import ids
from storage.clickhouse import fingerprints
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.clickhouse.fingerprints import WEEK_MS, Cut, Slice, SliceKey
from storage.errors import TierUnavailable
from storage.postgres.driver import translated

SLICE_ROWS = 8_192
"""Rows of a slice at the first look, about: a line for each is all that leaves the databases."""

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


class Compared(NamedTuple):
    """How many rows were compared, and the ids of those that are not the same in both."""

    rows: int = 0
    suspects: frozenset[str] = frozenset()


class LostSlice(NamedTuple):
    """A slice of the archive with fewer rows than were put into it."""

    key: SliceKey
    expected: int
    found: int


class RowComparison:
    """Compares all of a scope, a chunk of time after the other."""

    def __init__(self, engine: Engine, server: ClickHouse) -> None:
        self._engine = engine
        self._server = server

    def compare(self, scope: Scope, boundary: str) -> Compared:
        """Everything. Rows below the boundary may be in ClickHouse alone. Raises `TierError`."""
        done = Compared()
        for cut in self.cuts(scope):
            step = self._compare(cut, boundary)
            done = Compared(done.rows + step.rows, done.suspects | step.suspects)
        return done

    def cuts(self, scope: Scope) -> list[Cut]:
        """All of time in chunks, by how much ClickHouse has of each week."""
        everything = Cut(user_id=scope.user_id, thread_id=scope.thread_id)
        query = _WEEKS.format(
            phase=fingerprints.PHASE_MS,
            width=WEEK_MS,
            where=fingerprints.clickhouse_where(everything),
        )
        with clickhouse_translated(), self._server.engine.connect() as connection:
            weeks = [(int(w), int(n)) for w, n in connection.exec_driver_sql(query)]
        return _chunks(everything, weeks)

    def _compare(self, cut: Cut, boundary: str) -> Compared:
        try:
            return self._compare_at_once(cut, boundary)
        except TierUnavailable as error:
            # Too much for one statement, as where ClickHouse has lost what it was cut by.
            middle = (cut.low_ms + min(cut.high_ms, ids.MAX_MICROSECONDS // 1000)) // 2
            if not error.passing or middle - cut.low_ms < _SHORTEST_MS:
                raise
        halves = (cut._replace(high_ms=middle), cut._replace(low_ms=middle))
        first, second = (self._compare(half, boundary) for half in halves)
        return Compared(first.rows + second.rows, first.suspects | second.suspects)

    def _compare_at_once(self, cut: Cut, boundary: str) -> Compared:
        ours, theirs = self._slices(cut)
        rows = sum(
            max(ours.get(key, _NOTHING).rows, theirs.get(key, _NOTHING).rows)
            for key in ours.keys() | theirs.keys()
        )
        if not any(_may_differ(key, ours, boundary) for key in _differing(ours, theirs)):
            return Compared(rows)
        return Compared(rows, frozenset(self._suspects(cut, boundary)))

    def _slices(self, cut: Cut) -> tuple[dict[SliceKey, Slice], dict[SliceKey, Slice]]:
        """Both databases' slices, computed at the same time."""
        with ThreadPoolExecutor(1) as other:
            pending = other.submit(fingerprints.clickhouse_slices, self._server, cut)
            with translated(), self._engine.connect() as connection:
                ours = fingerprints.postgres_slices(connection, cut)
            return ours, pending.result()

    def _suspects(self, cut: Cut, boundary: str) -> set[str]:
        finer = cut._replace(shares=min(fingerprints.MAX_SHARES, cut.shares * FINER))
        here, there = self._slices(finer)
        differing = [key for key in _differing(here, there) if _may_differ(key, here, boundary)]
        with translated(), self._engine.connect() as connection:
            ours = fingerprints.postgres_rows(connection, finer, differing)
        theirs = fingerprints.clickhouse_rows(self._server, finer, differing)
        return {
            name
            for name in ours.keys() | theirs.keys()
            if ours.get(name) != theirs.get(name) and (name in ours or name >= boundary)
        }


_NOTHING = Slice(0, 0)


def lost_slices(
    server: ClickHouse, cut: Cut, expected: Mapping[SliceKey, int]
) -> Sequence[LostSlice]:
    """The slices of a cut in which ClickHouse has fewer rows than were archived.

    A row once archived may get newer versions, a tombstone at last, but never fewer rows: so the
    counts hold for good, the checksums do not. Raises `TierError`.
    """
    if not expected:
        return []
    found = fingerprints.clickhouse_slices(server, cut)
    return [
        LostSlice(key, rows, found.get(key, _NOTHING).rows)
        for key, rows in sorted(expected.items())
        if found.get(key, _NOTHING).rows < rows
    ]


def _differing(ours: Mapping[SliceKey, Slice], theirs: Mapping[SliceKey, Slice]) -> list[SliceKey]:
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _may_differ(key: SliceKey, ours: Mapping[SliceKey, Slice], boundary: str) -> bool:
    """Whether a slice that is in ClickHouse alone would be one too few in PostgreSQL."""
    end_ms = (key.period + 1) * WEEK_MS - fingerprints.PHASE_MS
    return key in ours or end_ms * 1000 > ids.time_us_of(boundary)


def _chunks(everything: Cut, weeks: Sequence[tuple[int, int]]) -> list[Cut]:
    edges, rows, chunk = [0], [0], 0
    for week, count in weeks:
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
