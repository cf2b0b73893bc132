"""What PostgreSQL still has to hand on, and what it keeps for a person to decide."""

from typing import NamedTuple

from sqlalchemy import Connection, Engine

from models.records import HEAD_BYTES, Address, address_of
from storage.postgres.driver import execute, rows_of

MOST_COUNTED = 100_000
"""Counting on would take longer than anybody needs to see that there is much."""

_LOOK = f"""
SELECT (SELECT count(*) FROM (SELECT FROM clickhouse_outbox LIMIT {MOST_COUNTED}) AS counted)
           AS outbox,
       (SELECT extract(epoch FROM clock_timestamp() - queued_at) FROM clickhouse_outbox
        ORDER BY sequence LIMIT 1) AS oldest_outbox_seconds,
       (SELECT count(*) FROM (SELECT FROM redis_backfill LIMIT {MOST_COUNTED}) AS counted)
           AS redis_lacks,
       (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT {MOST_COUNTED}) AS counted)
           AS dead_letters,
       (SELECT extract(epoch FROM clock_timestamp() - min(refused_at)) FROM dead_letters)
           AS oldest_dead_letter_seconds,
       (SELECT count(*) FROM (SELECT FROM lost_acknowledgements LIMIT {MOST_COUNTED}) AS counted)
           AS acknowledged_lost,
       (SELECT count(*) FROM archive_units WHERE state = 'stopped') AS archive_stopped,
       (SELECT count(*) FROM consistency_reports WHERE state = 'running') AS checks_running,
       (SELECT count(*) FROM user_erasures WHERE finished_at IS NULL) AS erasures_unfinished
"""  # noqa: S608
_WAITS = """
SELECT 'clickhouse_outbox' WHERE EXISTS (SELECT FROM clickhouse_outbox)
UNION ALL SELECT 'audit_outbox' WHERE EXISTS (SELECT FROM audit_outbox)
UNION ALL SELECT 'row_copies_outbox' WHERE EXISTS (SELECT FROM row_copies_outbox)
UNION ALL SELECT 'redis_backfill' WHERE EXISTS (SELECT FROM redis_backfill)
UNION ALL SELECT 'direct_writes' WHERE EXISTS (SELECT FROM redis_detours WHERE in_clickhouse)
"""
_IS_UNFINISHED = "SELECT EXISTS (SELECT FROM recovery_runs WHERE finished_at IS NULL)"
_LETTERS = (
    "SELECT id, kind, substring(record FOR :head) AS head FROM dead_letters"
    " WHERE kind IN ('message', 'thread') ORDER BY id"
)


class Outstanding(NamedTuple):
    """Counts, up to `MOST_COUNTED`, and for how many seconds the oldest has waited; None where
    there is none."""

    outbox: int
    oldest_outbox_seconds: float | None
    redis_lacks: int
    dead_letters: int
    oldest_dead_letter_seconds: float | None
    acknowledged_lost: int
    archive_stopped: int
    checks_running: int
    erasures_unfinished: int


class Letter(NamedTuple):
    """A refused write: its number, its kind, and whose it is."""

    id: int
    kind: str
    address: Address


def outstanding(connection: Connection) -> Outstanding:
    """Counts all of it in one statement."""
    row = execute(connection, _LOOK).one()._asdict()
    ages = ("oldest_outbox_seconds", "oldest_dead_letter_seconds")
    known = {name: max(0.0, float(row[name])) for name in ages if row[name] is not None}
    return Outstanding(**{**row, **known})


def waiting(engine: Engine) -> set[str]:
    """Which queues hold anything, by their tables, as one cheap question; `direct_writes`, which
    is in ClickHouse, where somebody said so. Raises `TierError`."""
    return {row[0] for row in rows_of(engine, _WAITS)}


def is_unfinished(connection: Connection) -> bool:
    """Whether PostgreSQL is being rebuilt, or was left halfway."""
    return bool(execute(connection, _IS_UNFINISHED).scalar_one())


def letters(connection: Connection) -> list[Letter]:
    """All refused writes of messages and threads."""
    rows = execute(connection, _LETTERS, head=HEAD_BYTES)
    return [Letter(row.id, row.kind, address_of(row.kind, bytes(row.head))) for row in rows]


def refused(connection: Connection) -> list[Address]:
    """The addresses of all versions of messages that are dead letters."""
    return [one.address for one in letters(connection) if one.kind == "message"]
