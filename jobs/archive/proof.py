"""Proves that ClickHouse has every message of some units, slice by slice and then row by row.

Many partitions are one query in each database. Checksums settle nearly all; the rows of slices that
differ are looked at one by one, and mended.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import Engine

from jobs.archive.manifest import ProvenSlice
from jobs.archive.row_proof import RowProver
from jobs.archive.units import Unit
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import (
    WEEK_MS,
    Cut,
    Slice,
    SliceKey,
    clickhouse_slices,
    postgres_rows,
    postgres_slices,
    week_of,
)
from storage.postgres.driver import translated
from storage.resilience.breaker import Breaker

SHARES = 16
"""Slices of a week."""
QUERY_BYTES = 256 * 1024 * 1024
"""What one query reads: well within a statement's deadline, and within ClickHouse's memory."""
MENDED_ROWS = 50_000
"""Rows of slices that differ whose marks this process holds at once."""
GAP_MS = 4 * WEEK_MS
"""Units further apart are asked for apart: ClickHouse reads what lies between them."""

_NOTHING = Slice(0, 0)
_Slices = dict[SliceKey, Slice]


class Proof(NamedTuple):
    """Of one unit: its rows, its slices, how many rows were shipped again or are newer in
    ClickHouse, and why it cannot be proven, if so."""

    unit: Unit
    rows: int = 0
    slices: Mapping[SliceKey, ProvenSlice] = {}
    reshipped: int = 0
    newer: int = 0
    trouble: str | None = None


class Prover:
    """Proves units, as partitions or detached. Holds nothing open while it waits."""

    def __init__(
        self, engine: Engine, server: ClickHouse, breaker: Breaker, mender: RowProver
    ) -> None:
        self._engine = engine
        self._server = server
        self._breaker = breaker
        self._mender = mender

    def prove(self, units: Sequence[Unit], attempt: int) -> Iterator[Proof]:
        """One proof for each unit, in their order. Raises `TierError`."""
        for group in together(units):
            if group[0].bytes is None:
                yield Proof(group[0], trouble=f"the table {group[0].name} does not exist")
                continue
            ours, theirs = self._slices(group)
            for unit in group:
                week = week_of(unit.low_ms)
                mine = {key: one for key, one in ours.items() if key.period == week}
                yield self._proof(unit, mine, theirs, attempt)

    def _slices(self, group: Sequence[Unit]) -> tuple[_Slices, _Slices]:
        union = " UNION ALL ".join(f"SELECT * FROM {unit.name}" for unit in group)  # noqa: S608
        whole = Cut(
            group[0].low_ms, group[-1].high_ms, WEEK_MS, SHARES, table=f"({union}) AS units"
        )
        ours: _Slices = defaultdict(lambda: _NOTHING)
        theirs: _Slices = defaultdict(lambda: _NOTHING)
        for cut in _pieces(whole, sum(unit.bytes or 0 for unit in group)):
            with translated(), self._engine.connect() as connection:
                _add(ours, postgres_slices(connection, cut))
            with self._breaker.guard(is_bulk=True):
                _add(theirs, clickhouse_slices(self._server, cut))
        return ours, theirs

    def _proof(self, unit: Unit, ours: _Slices, theirs: _Slices, attempt: int) -> Proof:
        differing = [key for key, one in ours.items() if theirs.get(key) != one]
        reshipped = newer = 0
        for keys in _portions(ours, differing):
            cut = Cut(unit.low_ms, unit.high_ms, WEEK_MS, SHARES, table=unit.name)
            with translated(), self._engine.connect() as connection:
                names = sorted(postgres_rows(connection, cut, keys))
            settled = self._mender.settle(unit.name, names, attempt)
            reshipped, newer = reshipped + settled.reshipped, newer + settled.newer
            if settled.trouble is not None:
                return Proof(unit, reshipped=reshipped, trouble=settled.trouble)
        slices = {
            key: ProvenSlice(
                one, theirs.get(key, _NOTHING), "rows" if key in differing else "checksum"
            )
            for key, one in ours.items()
        }
        return Proof(unit, sum(one.rows for one in ours.values()), slices, reshipped, newer)


def together(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Units, in their order, in groups for one query each: neighbours, and not too much at once."""
    group: list[Unit] = []
    size = 0
    for unit in units:
        of_unit = unit.bytes or 0
        is_apart = bool(group) and (
            unit.bytes is None
            or group[-1].bytes is None
            or size + of_unit > QUERY_BYTES
            or not 0 <= unit.low_ms - group[-1].high_ms <= GAP_MS
        )
        if is_apart:
            yield group
            group, size = [], 0
        group.append(unit)
        size += of_unit
    if group:
        yield group


def _pieces(cut: Cut, size_bytes: int) -> Iterator[Cut]:
    """A cut in as many pieces of time as its size needs; their slices add up."""
    count = -(-max(1, size_bytes) // QUERY_BYTES)
    edges = [cut.low_ms + (cut.high_ms - cut.low_ms) * at // count for at in range(count + 1)]
    for low_ms, high_ms in pairwise(edges):
        yield cut._replace(low_ms=low_ms, high_ms=high_ms)


def _add(total: _Slices, part: _Slices) -> None:
    for key, one in part.items():
        known = total[key]
        total[key] = Slice(known.rows + one.rows, (known.checksum + one.checksum) % 2**64)


def _portions(ours: _Slices, keys: Sequence[SliceKey]) -> Iterator[list[SliceKey]]:
    portion: list[SliceKey] = []
    rows = 0
    for key in keys:
        if portion and rows + ours[key].rows > MENDED_ROWS:
            yield portion
            portion, rows = [], 0
        portion.append(key)
        rows += ours[key].rows
    if portion:
        yield portion
