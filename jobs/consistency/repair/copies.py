"""Puts the right copies of messages into each tier, in the place of those that are wrong."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, select

from jobs.consistency.judge.copies import ArchivedRow, archived_rows
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Difference
from models import codec
from models.message import Message
from models.tables import messages
from storage.availability import hidden
from storage.clickhouse.driver import ClickHouse, literal
from storage.clickhouse.driver import batches as sized_to_a_statement
from storage.postgres import locks, writes
from storage.postgres.driver import execute, message_of, translated
from storage.postgres.partitions import Partitions
from storage.redis import keys
from storage.redis.driver import Script
from storage.resilience.bites import batches
from storage.tiers import Tiers

MESSAGES_AT_ONCE = 200
ROWS_AT_ONCE = 500
"""Of ClickHouse, which takes few inserts well."""

_PUT = f"""
INSERT INTO messages ({writes.COLUMNS})
SELECT {writes.COLUMNS} FROM {writes.GIVEN} ORDER BY id
ON CONFLICT (id) DO UPDATE SET
    user_id = excluded.user_id, thread_id = excluded.thread_id,
    created_at = excluded.created_at, {writes.REPLACED}
"""  # noqa: S608


def put_into_postgresql(tiers: Tiers, verdicts: Sequence[CopyVerdict]) -> None:
    """Replaces wrong rows that are still as they were judged, under the locks of their slots, so
    that no drain writes them meanwhile. Raises `TierUnavailable` with what was done until then
    committed."""
    partitions = Partitions(tiers.job_engine)
    for batch in batches((one for one in verdicts if one.truth), MESSAGES_AT_ONCE):
        partitions.ensure_for(one.id for one in batch)
        with translated(), tiers.job_engine.begin() as connection:
            slots = {tiers.redis.slot_of_message(one.id) for one in batch}
            locks.lock_slots(connection, slots, locks.PATIENCE)
            right = _still_right(connection, batch)
            if right:
                execute(connection, _PUT, records=codec.json_array(map(codec.encode, right)))
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


def put_into_clickhouse(server: ClickHouse, verdicts: Sequence[CopyVerdict]) -> None:
    """Has ClickHouse show what is right: inserts, and, once that was read back, deletes rows that
    would hide it: of a higher version, of the same version, or in another place of the table.
    Raises `TierError`."""
    for batch in batches(verdicts, ROWS_AT_ONCE):
        truths = {one.id: one.truth for one in batch if one.truth}
        _insert(server, truths.values())
        rows = archived_rows(server, truths)
        hiding = [
            (name, row)
            for name, truth in truths.items()
            if truth in [row.message for row in rows.get(name, ())]
            for row in rows[name]
            if _hides(row, truth)
        ]
        for some in sized_to_a_statement(hiding, _place):
            server.execute(
                "ALTER TABLE messages DELETE WHERE"
                " (toString(id), version, user_id, thread_id, toString(created_at),"
                f" toString(archived_at)) IN ({', '.join(map(_place, some))})"
                " SETTINGS mutations_sync = 2"
            )
        # Until the others were deleted, a merge may have taken the right row for superseded.
        names = {name for name, _ in hiding}
        _insert(server, [truths[name] for name in names - archived_rows(server, names).keys()])


def _insert(server: ClickHouse, truths: Collection[Message]) -> None:
    if truths:
        # The same rows may have been inserted before, in the same batch; they are to count again.
        server.insert("messages", b"\n".join(map(codec.encode, truths)), secrets.token_hex(32))


def _place(hiding: tuple[str, ArchivedRow]) -> str:
    name, row = hiding
    return (
        f"('{name}', {row.version}, {literal(row.user_id)}, {literal(row.thread_id)},"
        f" '{_text(row.created_at)}', '{_text(row.archived_at)}')"
    )


def _hides(row: ArchivedRow, truth: Message) -> bool:
    place = (row.user_id, row.thread_id, row.created_at)
    if place != (truth.user_id, truth.thread_id, truth.created_at):
        return True
    return row.version > truth.version or (row.version == truth.version and row.message != truth)


def _text(moment: str) -> str:
    """A time as ClickHouse itself writes it."""
    return moment.rstrip("Z").replace("T", " ")


def put_into_redis(tiers: Tiers, verdicts: Sequence[CopyVerdict]) -> None:
    """Puts what is right in the place of copies that are still what was read; whatever was written
    since stays. Raises `TierError`."""
    correct = Script(tiers.redis_door, "replace_damaged")
    calls = (call for one in verdicts if (call := _call(tiers, one)) is not None)
    for batch in batches(calls, MESSAGES_AT_ONCE):
        correct.many(batch)


def relist(tiers: Tiers, differences: Sequence[Difference]) -> None:
    """Has indexes claim nothing, so that they are read anew from below; entries of what is nowhere
    leave them. Raises `TierError`."""
    tiers.redis_repair.invalidate_indexes(sorted({one.thread for one in differences}))
    entries = [
        (keys.index(tiers.redis.slot_of_thread(*one.thread), *one.thread), one.id)
        for one in differences
        if one.kind == "phantom"
    ]
    tiers.redis_door.each(lambda pipeline, entry: pipeline.zrem(*entry), entries)


def _call(tiers: Tiers, verdict: CopyVerdict) -> tuple[list[str], list[Any]] | None:
    truth, hot = verdict.truth, verdict.copies.hot
    if truth is None or hot is None:
        return None
    slot = tiers.redis.slot_of_message(truth.id)
    seen = hashlib.sha1(hot.record, usedforsecurity=False).hexdigest()
    gone = "1" if truth.deleted_at or verdict.is_hidden else "0"
    # What is hidden is needed in no version.
    record = b"" if verdict.is_hidden else codec.encode(truth)
    return (
        [keys.message(slot, truth.id), keys.index(slot, truth.user_id, truth.thread_id)],
        [seen, record, truth.id, gone, tiers.settings.hot_seconds],
    )
