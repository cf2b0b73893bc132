"""Units of the archive and their states: planned → proven → detached → dropped, or stopped.

A unit is a partition on its way out, or what is old in the default partition. Each step is one
transaction together with what it tells of, and under the fence; so whatever the state says is so,
wherever an archiver was killed, and the next one goes on from there.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, TextClause, text

from jobs.archive.catalogue import Partition, milliseconds
from jobs.archive.fence import FencingToken
from storage.errors import Refused

State = Literal["planned", "proven", "detached", "dropped", "stopped"]

_PLAN = text(
    """
INSERT INTO archive_units (name, low, high, attempt, actor)
SELECT name, low, high, :attempt, :actor FROM json_to_recordset(CAST(:units AS json)) AS r (
    name text, low uuid, high uuid)
ORDER BY low
ON CONFLICT (name) WHERE state <> 'dropped' DO NOTHING
"""
)
_OPEN = text(
    """
SELECT id, name, low::text AS low, high::text AS high, state, reason, rows,
       extract(epoch FROM clock_timestamp() - detached_at) AS detached_seconds,
       coalesce(proven_at > detached_at, false) AS proven_since,
       pg_table_size(to_regclass(name)) AS bytes
FROM archive_units WHERE state <> 'dropped' ORDER BY archive_units.low, id
"""
)
_PROVEN = text(
    """
UPDATE archive_units SET
    state = CASE WHEN detached_at IS NULL THEN 'proven' ELSE 'detached' END, reason = NULL,
    attempt = :attempt, rows = :rows, reshipped = reshipped + :reshipped, newer = :newer,
    proven_at = clock_timestamp(), stopped_at = NULL
WHERE id = :id AND state <> 'dropped'
"""
)
_DETACHED = text(
    "UPDATE archive_units SET state = 'detached', attempt = :attempt,"
    " detached_at = clock_timestamp() WHERE id = :id AND state = 'proven'"
)
_DROPPED = text(
    "UPDATE archive_units SET state = 'dropped', attempt = :attempt, rows = :rows,"
    " dropped_at = clock_timestamp() WHERE id = :id AND state = :before"
)
_STOPPED = text(
    "UPDATE archive_units SET state = 'stopped', attempt = :attempt, reason = :reason,"
    " stopped_at = clock_timestamp() WHERE id = :id AND state <> 'dropped'"
)
_RAISE_BOUNDARY = text(
    "UPDATE archive_boundary SET below = CAST(:high AS uuid) WHERE below < CAST(:high AS uuid)"
)


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

    @property
    def low_ms(self) -> int:
        """The first millisecond of its ids."""
        return milliseconds(self.low)

    @property
    def high_ms(self) -> int:
        """The first millisecond after its ids."""
        return milliseconds(self.high)


def plan(
    connection: Connection, fence: FencingToken, partitions: Iterable[Partition], actor: str
) -> None:
    """Makes a unit of each partition that is none yet."""
    units = [{"name": one.name, "low": one.low, "high": one.high} for one in partitions]
    fence.check(connection)
    text_of_units = msgspec.json.encode(units).decode()
    values = {"attempt": fence.attempt, "actor": actor, "units": text_of_units}
    connection.execute(_PLAN, values)


def open_units(connection: Connection) -> list[Unit]:
    """All that are not done with, oldest messages first."""
    return [_unit(row) for row in connection.execute(_OPEN)]


def prove(
    connection: Connection,
    fence: FencingToken,
    unit: Unit,
    *,
    rows: int,
    reshipped: int,
    newer: int,
) -> Unit:
    """ClickHouse has all of it; gives the unit as it is then.

    One that had been stopped goes on from where it was.
    """
    counts = {"rows": rows, "reshipped": reshipped, "newer": newer}
    _move(connection, fence, unit, _PROVEN, counts)
    return unit._replace(state="detached" if unit.is_detached else "proven", rows=rows)


def detach(connection: Connection, fence: FencingToken, unit: Unit) -> None:
    """Its table is no partition any more, and reads below its end ask ClickHouse."""
    raise_boundary(connection, unit.high)
    _move(connection, fence, unit, _DETACHED, {})


def drop(connection: Connection, fence: FencingToken, unit: Unit, rows: int) -> None:
    """Its rows are gone from PostgreSQL."""
    _move(connection, fence, unit, _DROPPED, {"rows": rows, "before": unit.state})


def stop(connection: Connection, fence: FencingToken, unit: Unit, reason: str) -> None:
    """It is kept as it is until it can be proven."""
    _move(connection, fence, unit, _STOPPED, {"reason": reason})


def raise_boundary(connection: Connection, high: str) -> None:
    """Messages with ids below may be in ClickHouse alone from now on. It never falls."""
    connection.execute(_RAISE_BOUNDARY, {"high": high})


def _move(
    connection: Connection,
    fence: FencingToken,
    unit: Unit,
    step: TextClause,
    values: dict[str, Any],
) -> None:
    fence.check(connection)
    known = {"id": unit.id, "attempt": fence.attempt}
    if connection.execute(step, known | values).rowcount != 1:
        raise Refused(f"{unit.name} is not as this archiver left it; nothing was changed")


def _unit(row: Row[Any]) -> Unit:
    values = row._asdict()
    age = values["detached_seconds"]
    return Unit(**values | {"detached_seconds": None if age is None else float(age)})
