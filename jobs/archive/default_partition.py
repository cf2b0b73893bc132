"""Old rows of the default partition, edits of archived messages and history that came late: proven
row by row, and deleted by id and version, so that one that was changed meanwhile stays."""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine

from jobs.archive import units
from jobs.archive.catalogue import DEFAULT
from jobs.archive.fence import FencingToken
from jobs.archive.row_proof import RowProof, RowProver
from jobs.archive.units import Unit
from models import codec
from storage.clickhouse.fingerprints import MOST_NAMED
from storage.postgres.driver import execute, rows_of, translated
from storage.resilience.faultpoints import faultpoint

_ARE_THERE = f"SELECT EXISTS (SELECT FROM {DEFAULT} WHERE id < :below)"  # noqa: S608
_IDS = (
    f"SELECT id::text FROM {DEFAULT} WHERE id > :after AND id < :below"  # noqa: S608
    f" ORDER BY {DEFAULT}.id LIMIT :most"
)
_DELETE = (
    f"DELETE FROM {DEFAULT} m"  # noqa: S608
    " USING json_to_recordset(CAST(:proven AS json)) AS p (id uuid, version bigint)"
    " WHERE m.id = p.id AND m.version = p.version"
)


def are_there(connection: Connection, below: str) -> bool:
    """Whether the default partition holds ids below one."""
    return bool(execute(connection, _ARE_THERE, below=below).scalar_one())


def archive_rows(
    engine: Engine, prover: RowProver, fence: FencingToken, unit: Unit
) -> Iterator[tuple[int, RowProof]]:
    """Moves what is below the unit's end; gives for each batch how many rows left PostgreSQL, and
    their proof. A batch with trouble stays, and the next ones go on."""
    after = unit.low
    while True:
        values = {"after": after, "below": unit.high, "most": MOST_NAMED}
        names = [row.id for row in rows_of(engine, _IDS, values)]
        if not names:
            return
        after = names[-1]
        proof = prover.prove(DEFAULT, names, fence.attempt)
        faultpoint("archive.before_drop")
        proven = [{"id": name, "version": version} for name, version in proof.versions.items()]
        gone = 0
        if proven:
            with translated(), engine.begin() as connection:
                fence.check(connection)
                # Before the rows go: reads see either them or the boundary.
                units.raise_boundary(connection, unit.high)
                values = {"proven": codec.text(proven)}
                gone = execute(connection, _DELETE, values).rowcount
        yield gone, proof
        faultpoint("archive.after_drop")
