"""Units of the archive and their states: planned → proven → detached → dropped, or stopped. A unit
is a partition on its way out, or what is old in the default partition. Each step is one transaction
under the fence, so the next archiver continues where one was killed."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from jobs.archive.fence import FencingToken
from jobs.archive.tiering import Partition
from models import codec
from storage.errors import Refused
from storage.postgres.driver import execute

State = Literal["planned", "proven", "detached", "dropped", "stopped"]

_PLAN = """
INSERT INTO archive_units (name, low, high, attempt, actor)
SELECT name, low, high, :attempt, :actor FROM json_to_recordset(CAST(:units AS json)) AS r (
    name text, low uuid, high uuid)
ORDER BY low
ON CONFLICT (name) WHERE state <> 'dropped' DO NOTHING
"""
_OPEN = """
SELECT id, name, low::text, high::text, state, reason, rows,
       extract(epoch FROM clock_timestamp() - detached_at)::float AS detached_seconds,
       coalesce(proven_at > detached_at, false) AS proven_since,
       pg_table_size(to_regclass(name)) AS bytes
FROM archive_units WHERE state <> 'dropped' ORDER BY archive_units.low, id
"""
_NOT_DROPPED = "state <> 'dropped'"
_STEPS: dict[State, tuple[str, str]] = {
    "proven": (
        "reason = NULL, rows = :rows, reshipped = reshipped + :reshipped, newer = :newer,"
        " proven_at = clock_timestamp(), stopped_at = NULL",
        _NOT_DROPPED,
    ),
    "detached": ("detached_at = clock_timestamp()", "state = 'proven'"),
    "dropped": ("rows = :rows, dropped_at = clock_timestamp()", "state = :before"),
    "stopped": ("reason = :reason, stopped_at = clock_timestamp()", _NOT_DROPPED),
}
"""What changes with each step beside the state, and on which condition."""
_RAISE_BOUNDARY = (
    "UPDATE archive_boundary SET below = CAST(:high AS uuid) WHERE below < CAST(:high AS uuid)"
)
# Slices that an earlier proof had and this one has not are gone with their rows.
_FORGET_SLICES = "DELETE FROM archive_slices WHERE unit_id = :unit_id"
_SAVE_SLICES = """
INSERT INTO archive_slices (unit_id, period, share, rows, checksum, clickhouse_rows,
                            clickhouse_checksum, proven_by)
SELECT :unit_id, r.* FROM json_to_recordset(CAST(:slices AS json)) AS r (
    period bigint, share integer, rows bigint, checksum numeric(20), clickhouse_rows bigint,
    clickhouse_checksum numeric(20), proven_by text)
"""


class Unit(NamedTuple):
    """A unit that is not done with. `detached_seconds` is None while its table is a partition,
    `proven_since` says whether it was proven after that, `bytes` is None where it has no table."""

    id: int
    name: str
    low: str
    high: str
    state: State
    reason: str | None
    rows: int | None
    detached_seconds: float | None
    proven_since: bool
    bytes: int | None

    @property
    def is_detached(self) -> bool:
        """Whether its table is no partition any more."""
        return self.detached_seconds is not None


class ProvenSlice(NamedTuple):
    """A slice as both tiers had it, and what proved it: its `checksum`, or its `rows` one by one,
    which may be newer in ClickHouse, or more there. Checksums are decimal texts."""

    period: int
    share: int
    rows: int
    checksum: str
    clickhouse_rows: int
    clickhouse_checksum: str
    proven_by: Literal["checksum", "rows"]


def plan(
    connection: Connection, fence: FencingToken, partitions: Iterable[Partition], actor: str
) -> None:
    """Makes a unit of each partition that is none yet."""
    units = [{"name": one.name, "low": one.low, "high": one.high} for one in partitions]
    fence.check(connection)
    listed = codec.text(units)
    execute(connection, _PLAN, attempt=fence.attempt, actor=actor, units=listed)


def open_units(connection: Connection) -> list[Unit]:
    """All that are not done with, oldest messages first."""
    return [Unit(*row) for row in execute(connection, _OPEN)]


def move(
    connection: Connection, fence: FencingToken, unit: Unit, step: State, **values: Any
) -> State:
    """Takes a unit to its next state in the caller's transaction, and gives that: a detached one
    that is proven stays detached. Raises `Refused` where another archiver has changed it."""
    fence.check(connection)
    changes, condition = _STEPS[step]
    state = "detached" if step == "proven" and unit.is_detached else step
    values |= {"id": unit.id, "attempt": fence.attempt, "state": state, "before": unit.state}
    statement = (
        f"UPDATE archive_units SET state = :state, attempt = :attempt, {changes}"  # noqa: S608
        f" WHERE id = :id AND {condition}"
    )
    if execute(connection, statement, values).rowcount != 1:
        raise Refused(f"{unit.name} is not as this archiver left it; nothing was changed")
    return state


def save_slices(connection: Connection, unit: Unit, slices: Sequence[ProvenSlice]) -> None:
    """Writes what was proven of a unit, in place of an earlier proof."""
    execute(connection, _FORGET_SLICES, unit_id=unit.id)
    rows = codec.text([one._asdict() for one in slices])
    execute(connection, _SAVE_SLICES, unit_id=unit.id, slices=rows)


def raise_boundary(connection: Connection, high: str) -> None:
    """Messages with ids below may be in ClickHouse alone from now on. It never falls."""
    execute(connection, _RAISE_BOUNDARY, high=high)
