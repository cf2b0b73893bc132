"""The right rows into PostgreSQL."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from jobs.consistency.judge.verdict import CopyVerdict
from models import codec
from models.message import Message
from models.tables import messages
from storage.availability import hidden
from storage.postgres import locks, writes
from storage.postgres.driver import execute, message_of, translated
from storage.postgres.partitions import Partitions
from storage.resilience.bites import batches
from storage.tiers import Tiers

BATCH = 200

_PUT = f"""
INSERT INTO messages ({writes.COLUMNS})
SELECT {writes.COLUMNS} FROM {writes.GIVEN} ORDER BY id
ON CONFLICT (id) DO UPDATE SET
    user_id = excluded.user_id, thread_id = excluded.thread_id,
    created_at = excluded.created_at, {writes.REPLACED}
"""  # noqa: S608


def put(tiers: Tiers, verdicts: Sequence[CopyVerdict]) -> None:
    """Replaces wrong rows that are still as they were judged, under the locks of their slots, so
    that no drain writes them meanwhile. Raises `TierUnavailable` with what was done until then
    committed."""
    partitions = Partitions(tiers.job_engine)
    for batch in batches((one for one in verdicts if one.truth), BATCH):
        partitions.ensure_for(one.id for one in batch)
        with translated(), tiers.job_engine.begin() as connection:
            slots = {tiers.redis.slot_of_message(one.id) for one in batch}
            locks.lock_slots(connection, slots, locks.PATIENCE)
            right = _still_right(connection, batch)
            if right:
                records = {"records": codec.json_array(map(codec.encode, right))}
                execute(connection, _PUT, records)
                writes.queue_backfill(connection, right)


def _still_right(connection: Connection, verdicts: Sequence[CopyVerdict]) -> list[Message]:
    """What is right in place of rows that have not changed since they were judged."""
    names = [one.id for one in verdicts]
    query = select(messages).where(messages.c.id.in_(names)).with_for_update()
    now: dict[str, Message] = {row.id: message_of(row) for row in connection.execute(query)}
    # What was archived meanwhile is no longer missing here.
    boundary = hidden.archive_boundary(connection)
    right = [
        one.truth
        for one in verdicts
        if one.truth
        and now.get(one.id) == one.copies.committed
        and (one.id in now or one.id >= boundary)
    ]
    # What was deleted since it was judged, or erased by now, does not come back.
    marks = hidden.committed(connection, map(hidden.thread_of, right))
    return [one for one in right if one.deleted_at or marks[hidden.thread_of(one)].show(one)]
