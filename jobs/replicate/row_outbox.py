"""Copies PostgreSQL's small tables to ClickHouse, so that they outlive PostgreSQL. Triggers queue
each row that changes. Of several copies the one with the highest sequence counts; a rebuilt
PostgreSQL counts from one, so it ships nothing before a recovery."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row

from jobs.replicate.outbox import ClickHouseOutbox
from storage.clickhouse.driver import EVERY_ROW, ClickHouse, literal
from storage.errors import TierRejected
from storage.postgres.acting import AS_USERS
from storage.postgres.driver import execute, rows_of, translated
from storage.resilience.breaker import Breaker
from storage.tiers import Tiers

BATCH_ROWS = 2_000
LEAST_ROWS = 8
"""Of a batch, when larger ones were too much: a state may be a thousand times a thread's row."""

_TAKE = """
WITH taken AS (
    DELETE FROM row_copies_outbox WHERE sequence IN (
        SELECT sequence FROM row_copies_outbox ORDER BY sequence LIMIT :batch)
    RETURNING *
)
SELECT count(*) AS taken, count(*) AS shipped, min(sequence) AS lowest,
       max(sequence) AS highest, string_agg(json_build_object('table_name', table_name, 'key', key,
           'row', coalesce(row::text, ''), 'sequence', sequence,
           'is_deleted', (row IS NULL)::int)::text, E'\\n' ORDER BY sequence) AS lines
FROM taken
"""
_THESE = _TAKE.replace(
    "SELECT sequence FROM row_copies_outbox ORDER BY sequence LIMIT :batch",
    "SELECT unnest(CAST(:sequences AS bigint[]))",
)
_TAKE_THESE = f"{AS_USERS}; {_THESE}"
_LAST_NUMBER = "SELECT last_value FROM row_copies_outbox_sequence_seq"
_CONTINUE = (
    "SELECT setval('row_copies_outbox_sequence_seq', greatest(last_value, :highest))"
    " FROM row_copies_outbox_sequence_seq"
)
_COPIED = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'copy_rows' ORDER BY 1"
_QUEUE_ALL = "SELECT queue_row_copies(:name)"


_OF_USER = (
    """
SELECT count() FROM row_copies
WHERE NOT is_deleted AND table_name <> 'user_erasures'
  AND multiIf(table_name = 'state_records', JSONExtractString(key, 2),
              table_name = 'checkpoints', JSONExtractString(key, 1),
              JSONExtractString(row, 'user_id')) = {user}
  AND NOT (table_name IN ('state_records', 'checkpoints') AND
           parseDateTime64BestEffortOrZero(
               extract(row, '"(?:updated_at|created_at)":"([^"]*)"'), 6, 'UTC')
           > parseDateTime64BestEffort('{moment}', 6, 'UTC'))
  AND NOT (table_name = 'threads' AND
           parseDateTime64BestEffortOrZero(JSONExtractString(row, 'created_at'), 6, 'UTC')
           > parseDateTime64BestEffort('{moment}', 6, 'UTC'))
"""
    + EVERY_ROW
)
_OF_USER_WAITING = """
SELECT count(*) FROM row_copies_outbox
WHERE row ->> 'user_id' = :user_id AND table_name <> 'user_erasures'
  AND NOT (table_name IN ('state_records', 'checkpoints')
           AND CAST(coalesce(row ->> 'updated_at', row ->> 'created_at') AS timestamptz)
               > CAST(:moment AS timestamptz))
  AND NOT (table_name = 'threads'
           AND CAST(row ->> 'created_at' AS timestamptz) > CAST(:moment AS timestamptz))
"""
_HAS_OLD = (
    """
SELECT count() > uniqExact(table_name, key) OR countIf(is_deleted = 1) > 0 FROM row_copies
"""
    + EVERY_ROW
)
# One that is gone needs no note that it is gone, once there is nothing of it to hide.
_DROP_DELETED = (
    "ALTER TABLE row_copies DELETE WHERE is_deleted = 1 AND (table_name, key) NOT IN"
    " (SELECT table_name, key FROM row_copies WHERE is_deleted = 0) SETTINGS mutations_sync = 2"
)


class RowCopies:
    """Carries the rows that the triggers have queued, and looks after their copies."""

    def __init__(self, tiers: Tiers) -> None:
        self._engine = tiers.job_engine
        self._server = tiers.clickhouse_within(tiers.settings.ship_timeout_seconds)
        self._shipped_through = 0
        self._outbox = ClickHouseOutbox(
            tiers,
            _TAKE,
            "row_copies",
            "ship-row-copies",
            most=BATCH_ROWS,
            least=LEAST_ROWS,
            before_insert=self._check_numbers,
            after_insert="copies.after_insert",
        )

    def ship(self) -> int:
        """Carries all that is queued to ClickHouse; gives how many rows. Raises `TierError`."""
        return self._outbox.ship_all().shipped

    def of_user(self, user_id: str, moment: str) -> int:
        """How many copies there are, or are queued, of a user's rows from before a moment: old
        copies too, but not the user's erasure itself. Raises `TierError`."""
        queued = int(rows_of(self._engine, _OF_USER_WAITING, user_id=user_id, moment=moment)[0][0])
        query = _OF_USER.format(user=literal(user_id), moment=moment)
        return queued + self._server.number(query)

    def has_old(self) -> bool:
        """Whether there are copies that do not count any more. Raises `TierError`."""
        return bool(self._server.number(_HAS_OLD))

    def compact(self) -> None:
        """Ships what is queued, then takes old copies out of ClickHouse. Raises `TierError`."""
        self.ship()
        self._server.execute("OPTIMIZE TABLE row_copies FINAL")
        self._server.execute(_DROP_DELETED)

    def _check_numbers(self, connection: Connection, row: Row[Any]) -> None:
        if row.lowest <= self._shipped_through or not self._shipped_through:
            _refuse_to_fall_behind(connection, self._server)
        self._shipped_through = row.highest


def ship_these(
    engine: Engine, server: ClickHouse, breaker: Breaker, user_id: str, sequences: Sequence[int]
) -> None:
    """Carries copies of a user's states that were queued under these numbers to ClickHouse, or
    waits for the process that does. Raises `TierError`."""
    with translated(), engine.begin() as connection:
        values = {"acting_for": [user_id], "sequences": list(sequences)}
        row = execute(connection, _TAKE_THESE, values).one()
        if row.taken:
            with breaker.guard():
                _refuse_to_fall_behind(connection, server)
                server.insert("row_copies", row.lines.encode())


def _refuse_to_fall_behind(connection: Connection, server: ClickHouse) -> None:
    """A PostgreSQL that was rebuilt empty counts from one: its rows would never be believed."""
    if int(execute(connection, _LAST_NUMBER).scalar_one()) < highest(server):
        raise TierRejected(
            "clickhouse",
            "it has copies of a PostgreSQL that was lost: run"
            " `threadkeep recover --from clickhouse`",
        )


def copied_tables(connection: Connection) -> list[str]:
    """The tables whose rows are copied."""
    return list(execute(connection, _COPIED).scalars())


def queue_all(connection: Connection) -> int:
    """Queues every row of every table that is copied; gives how many."""
    return sum(
        int(execute(connection, _QUEUE_ALL, name=name).scalar_one())
        for name in copied_tables(connection)
    )


def continue_numbers(connection: Connection, server: ClickHouse) -> None:
    """Has PostgreSQL's numbers go on above those that ClickHouse knows."""
    if found := highest(server):
        execute(connection, _CONTINUE, highest=found)


def highest(server: ClickHouse) -> int:
    """The highest sequence in ClickHouse, 0 if there is none. Raises `TierError`."""
    return server.number("SELECT max(sequence) FROM row_copies")


def are_there(server: ClickHouse) -> bool:
    """Whether ClickHouse holds any. Raises `TierError`."""
    is_made = server.number("EXISTS TABLE row_copies")
    return bool(is_made and server.number("SELECT count() FROM row_copies"))


def newest(server: ClickHouse) -> dict[str, list[str]]:
    """The newest copies of each table's rows that are not deleted, as JSON, all in memory: the
    tables are small. Raises `TierError`."""
    lines = server.lines(
        "SELECT table_name, row FROM row_copies FINAL WHERE is_deleted = 0"
        " ORDER BY table_name, sequence"
    )
    found: dict[str, list[str]] = {}
    for line in lines.splitlines():
        copy = msgspec.json.decode(line, type=_Line)
        found.setdefault(copy.table_name, []).append(copy.row)
    return found


class _Line(msgspec.Struct):
    table_name: str
    row: str
