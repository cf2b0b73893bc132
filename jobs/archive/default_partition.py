"""Old rows of the default partition: edits of archived messages, and history that came late.

They are proven row by row, and deleted each by its id and version: one that was changed meanwhile
has another version, and stays.
"""

from collections.abc import Iterator

import msgspec
from sqlalchemy import Engine, text

from jobs.archive import units
from jobs.archive.catalogue import DEFAULT
from jobs.archive.fence import FencingToken
from jobs.archive.row_proof import RowProof, RowProver
from jobs.archive.units import Unit
from storage.clickhouse.fingerprints import MOST_NAMED
from storage.postgres.driver import translated
from storage.resilience.faultpoints import faultpoint

_IDS = text(
    f"SELECT id::text FROM {DEFAULT} WHERE id > :after AND id < :below"  # noqa: S608
    f" ORDER BY {DEFAULT}.id LIMIT :most"
)
_DELETE = text(
    f"DELETE FROM {DEFAULT} m"  # noqa: S608
    " USING json_to_recordset(CAST(:proven AS json)) AS p (id uuid, version bigint)"
    " WHERE m.id = p.id AND m.version = p.version"
)


class Leftovers:
    """Archives rows of the default partition, a batch at a time."""

    def __init__(self, engine: Engine, mender: RowProver) -> None:
        self._engine = engine
        self._mender = mender

    def archive(self, fence: FencingToken, unit: Unit) -> Iterator[tuple[int, RowProof]]:
        """Moves what is below the unit's end; gives for each batch how many rows left PostgreSQL
        and how they were settled. A batch with trouble stays, and the next ones go on."""
        after = unit.low
        while True:
            with translated(), self._engine.connect() as connection:
                values = {"after": after, "below": unit.high, "most": MOST_NAMED}
                names = list(connection.execute(_IDS, values).scalars())
            if not names:
                return
            after = names[-1]
            settled = self._mender.settle(DEFAULT, names, fence.attempt)
            faultpoint("archive.before_drop")
            yield self._delete(fence, unit, settled), settled
            faultpoint("archive.after_drop")

    def _delete(self, fence: FencingToken, unit: Unit, settled: RowProof) -> int:
        if not settled.versions:
            return 0
        proven = [{"id": name, "version": version} for name, version in settled.versions.items()]
        with translated(), self._engine.begin() as connection:
            fence.check(connection)
            # Before the rows go: reads see either them or the boundary.
            units.raise_boundary(connection, unit.high)
            values = {"proven": msgspec.json.encode(proven).decode()}
            return int(connection.execute(_DELETE, values).rowcount)
