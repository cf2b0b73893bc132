"""Proves that ClickHouse has every message of a unit: by checksums of slices that both databases
compute, and row by row where those differ."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from jobs.archive.row_proof import RowProver
from jobs.archive.tiering import milliseconds
from jobs.archive.units import ProvenSlice, Unit
from storage.clickhouse import fingerprints
from storage.clickhouse.fingerprints import WEEK_MS, Cut, Slice, SliceKey
from storage.postgres.driver import transact
from storage.resilience.bites import sized_batches
from storage.tiers import Tiers

SHARES = 16
"""Slices of a week."""
QUERY_BYTES = 256 * 1024 * 1024
"""What one query reads: well within a statement's deadline, and within ClickHouse's memory."""
PROVEN_ROWS = 50_000
"""Rows of slices that differ whose marks this process holds at once."""

_NOTHING = Slice(0, 0)
_Slices = dict[SliceKey, Slice]


class Proof(NamedTuple):
    """Of one unit: its rows, its slices, how many rows were shipped again or are newer in
    ClickHouse, and why it cannot be proven, if so."""

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

    def prove(self, unit: Unit, attempt: int) -> Proof:
        """The proof of a unit, as it is now. Raises `TierError`."""
        if unit.bytes is None:
            return Proof(trouble=f"the table {unit.name} does not exist")
        low_ms, high_ms = milliseconds(unit.low), milliseconds(unit.high)
        cut = Cut(low_ms, high_ms, WEEK_MS, SHARES, table=unit.name)
        ours, theirs = self._slices(cut, unit.bytes)
        differing = [key for key, one in ours.items() if theirs.get(key) != one]
        reshipped = newer = 0
        for keys in sized_batches(differing, lambda key: ours[key].rows, PROVEN_ROWS):
            names = sorted(transact(self._tiers.job_engine, fingerprints.postgres_rows, cut, keys))
            proof = self._rows.prove(unit.name, names, attempt)
            reshipped, newer = reshipped + proof.reshipped, newer + proof.newer
            if proof.trouble is not None:
                return Proof(reshipped=reshipped, trouble=proof.trouble)
        slices = []
        for key, one in ours.items():
            other = theirs.get(key, _NOTHING)
            sums = (one.rows, str(one.checksum), other.rows, str(other.checksum))
            slices.append(ProvenSlice(*key, *sums, "rows" if key in differing else "checksum"))
        return Proof(sum(one.rows for one in ours.values()), slices, reshipped, newer)

    def _slices(self, whole: Cut, size_bytes: int) -> tuple[_Slices, _Slices]:
        """Both databases' slices of a cut of this size."""
        ours: _Slices = {}
        theirs: _Slices = {}
        for cut in _pieces(whole, size_bytes):
            _add(ours, transact(self._tiers.job_engine, fingerprints.postgres_slices, cut))
            with self._tiers.breakers.clickhouse.guard(is_bulk=True):
                _add(theirs, fingerprints.clickhouse_slices(self._tiers.job_clickhouse, cut))
        return ours, theirs


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
