"""The one moment of an archive that others could feel: a partition leaves `messages`. It gives up
before they would, and tries again after a pause; within it nothing waits for another server."""

from time import sleep

import structlog
from sqlalchemy import Connection, Engine

from jobs.archive import units
from jobs.archive.fence import FencingToken
from jobs.archive.units import Unit
from jobs.audit import AuditTrail
from storage.errors import TierUnavailable
from storage.postgres.driver import execute, transact
from storage.resilience.faultpoints import faultpoint

log = structlog.get_logger(__name__)

ATTEMPTS = 10
FIRST_PAUSE_SECONDS = 0.1
"""Doubled after each attempt up to two seconds: about ten seconds in all."""
MOST_UNSHIPPED = 5_000

# Behind a waiting lock everybody waits, so waiting and holding together stay below half a second.
# An archiver that is frozen in the middle loses its transaction.
_BRIEFLY = (
    "SELECT set_config('lock_timeout', '200ms', true),"
    " set_config('statement_timeout', '250ms', true),"
    " set_config('idle_in_transaction_session_timeout', '250ms', true)"
)
_BRIEFLY_AS_A_WHOLE = (
    "SELECT set_config('transaction_timeout', '450ms', true)"
    " WHERE current_setting('server_version_num')::int >= 170000"
)
_DETACH = "SELECT detach_messages_partition(:name)"
_LOCK = "LOCK TABLE ONLY messages IN ACCESS EXCLUSIVE MODE"
# Every change of a row stands in the outbox until ClickHouse has it, and whoever ships holds a
# lock on `messages` until then. So under our lock the rows that may have changed since the proof,
# and that ClickHouse may not have as they are now, are those in the outbox.
_UNSHIPPED = (
    "SELECT count(*) FROM clickhouse_outbox WHERE message_id >= :low AND message_id < :high"
)
_KEEP = """
INSERT INTO messages SELECT * FROM {table} WHERE id IN (
    SELECT message_id FROM clickhouse_outbox WHERE message_id >= :low AND message_id < :high)
"""


def detach(engine: Engine, audit: AuditTrail, fence: FencingToken, unit: Unit, actor: str) -> bool:
    """Detaches a proven partition in one transaction; False, with nothing changed, where others are
    too busy with it. Rows that changed since the proof and are not in ClickHouse yet stay in
    `messages`. Raises `TierError`, and `Refused` for an archiver that has lost its right."""
    pause_seconds = FIRST_PAUSE_SECONDS
    for _ in range(ATTEMPTS):
        try:
            transact(engine, _detach, audit, fence, unit, actor)
        except TierUnavailable as error:
            if not error.passing:
                raise
            log.info("archive_waits", partition=unit.name, reason=error.reason)
            sleep(pause_seconds)
            pause_seconds = min(2.0, 2 * pause_seconds)
        else:
            faultpoint("archive.after_detach")
            return True
    return False


def _detach(
    connection: Connection, audit: AuditTrail, fence: FencingToken, unit: Unit, actor: str
) -> None:
    execute(connection, _BRIEFLY)
    execute(connection, _BRIEFLY_AS_A_WHOLE)
    execute(connection, _LOCK)
    bounds = {"low": unit.low, "high": unit.high}
    unshipped = execute(connection, _UNSHIPPED, bounds).scalar_one()
    if unshipped > MOST_UNSHIPPED:
        reason = f"{unshipped} changes of {unit.name} are not in ClickHouse yet"
        raise TierUnavailable("postgresql", reason, passing=True)
    execute(connection, _DETACH, name=unit.name)
    # Whoever does not find its rows from here on asks ClickHouse.
    units.raise_boundary(connection, unit.high)
    units.move(connection, fence, unit, "detached")
    if unshipped:
        execute(connection, _KEEP.format(table=unit.name), bounds)
    counts = {"messages": unit.rows or 0, "kept": unshipped}
    audit.record(connection, actor, "archive.detach", f"partition:{unit.name}", counts)
    faultpoint("archive.before_detach_commit")
