"""Proves that ClickHouse has every message of some units: by checksums of slices, many partitions
in one query of each database, and row by row where those differ."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from jobs.archive.row_proof import RowProver
from jobs.archive.tiering import milliseconds
from jobs.archive.units import ProvenSlice, Unit
from storage.clickhouse import fingerprints
from storage.clickhouse.fingerprints import WEEK_MS, Cut, Slice, SliceKey
from storage.postgres.driver import translated
from storage.tiers import Tiers

SHARES = 16
"""Slices of a week."""
QUERY_BYTES = 256 * 1024 * 1024
"""What one query reads: well within a statement's deadline, and within ClickHouse's memory."""
PROVEN_ROWS = 50_000
"""Rows of slices that differ whose marks this process holds at once."""
GAP_MS = 4 * WEEK_MS
"""Units further apart are asked for apart: ClickHouse reads what lies between them."""

_NOTHING = Slice(0, 0)
_Slices = dict[SliceKey, Slice]
_Item = TypeVar("_Item")


class Proof(NamedTuple):
    """Of one unit: its rows, its slices, how many rows were shipped again or are newer in
    ClickHouse, and why it cannot be proven, if so."""

    unit: Unit
    rows: int = 0
    slices: Sequence[ProvenSlice] = ()
    reshipped: int = 0
    newer: int = 0
    trouble: str | None = None


class Prover:
    """Proves units, as partitions or detached. Holds nothing open while it waits."""

    def __init__(self, tiers: Tiers, rows: RowProver) -> None:
        self._tiers = tiers
        self._rows = rows

    def prove(self, units: Sequence[Unit], attempt: int) -> Iterator[Proof]:
        """One proof for each unit, in their order. Raises `TierError`."""
        for group in together(units):
            if group[0].bytes is None:
                yield Proof(group[0], trouble=f"the table {group[0].name} does not exist")
                continue
            ours, theirs = self._slices(group)
            for unit in group:
                week = fingerprints.week_of(milliseconds(unit.low))
                mine = {key: one for key, one in ours.items() if key.period == week}
                yield self._proof(unit, mine, theirs, attempt)

    def _slices(self, group: Sequence[Unit]) -> tuple[_Slices, _Slices]:
        union = " UNION ALL ".join(f"SELECT * FROM {unit.name}" for unit in group)  # noqa: S608
        whole = _cut(group[0], group[-1], f"({union}) AS units")
        ours: _Slices = {}
        theirs: _Slices = {}
        for cut in _pieces(whole, sum(unit.bytes or 0 for unit in group)):
            with translated(), self._tiers.job_engine.connect() as connection:
                _add(ours, fingerprints.postgres_slices(connection, cut))
            with self._tiers.breakers.clickhouse.guard(is_bulk=True):
                _add(theirs, fingerprints.clickhouse_slices(self._tiers.job_clickhouse, cut))
        return ours, theirs

    def _proof(self, unit: Unit, ours: _Slices, theirs: _Slices, attempt: int) -> Proof:
        differing = [key for key, one in ours.items() if theirs.get(key) != one]
        cut = _cut(unit, unit, unit.name)
        reshipped = newer = 0

        def joins(keys: list[SliceKey], key: SliceKey) -> bool:
            return sum(ours[one].rows for one in (*keys, key)) <= PROVEN_ROWS

        for keys in _grouped(differing, joins):
            with translated(), self._tiers.job_engine.connect() as connection:
                names = sorted(fingerprints.postgres_rows(connection, cut, keys))
            proof = self._rows.prove(unit.name, names, attempt)
            reshipped, newer = reshipped + proof.reshipped, newer + proof.newer
            if proof.trouble is not None:
                return Proof(unit, reshipped=reshipped, trouble=proof.trouble)
        slices = []
        for key, one in ours.items():
            other = theirs.get(key, _NOTHING)
            sums = (one.rows, str(one.checksum), other.rows, str(other.checksum))
            slices.append(ProvenSlice(*key, *sums, "rows" if key in differing else "checksum"))
        return Proof(unit, sum(one.rows for one in ours.values()), slices, reshipped, newer)


def together(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Units, in their order, in groups for one query each: neighbours, and not too much at once."""

    def joins(group: list[Unit], unit: Unit) -> bool:
        sizes = [one.bytes for one in (*group, unit)]
        gap_ms = milliseconds(unit.low) - milliseconds(group[-1].high)
        are_there = None not in sizes
        return (
            are_there and sum(size or 0 for size in sizes) <= QUERY_BYTES and 0 <= gap_ms <= GAP_MS
        )

    return _grouped(units, joins)


def _grouped(
    items: Iterable[_Item], joins: Callable[[list[_Item], _Item], bool]
) -> Iterator[list[_Item]]:
    """Items, in their order, in groups: each begins with the first that does not join the last."""
    group: list[_Item] = []
    for item in items:
        if group and not joins(group, item):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _cut(first: Unit, last: Unit, table: str) -> Cut:
    return Cut(milliseconds(first.low), milliseconds(last.high), WEEK_MS, SHARES, table=table)


def _pieces(cut: Cut, size_bytes: int) -> Iterator[Cut]:
    """A cut in as many pieces of time as its size needs; their slices add up."""
    count = -(-max(1, size_bytes) // QUERY_BYTES)
    edges = [cut.low_ms + (cut.high_ms - cut.low_ms) * at // count for at in range(count + 1)]
    for low_ms, high_ms in pairwise(edges):
        yield cut._replace(low_ms=low_ms, high_ms=high_ms)


def _add(total: _Slices, part: _Slices) -> None:
    for key, one in part.items():
        known = total.get(key, _NOTHING)
        total[key] = Slice(known.rows + one.rows, (known.checksum + one.checksum) % 2**64)
