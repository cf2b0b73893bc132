"""The right rows into PostgreSQL, and the figures of threads as they should be."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, select, text

from jobs.consistency.compare import thread_figures
from jobs.consistency.compare.thread_figures import ThreadFigures
from jobs.consistency.judge.copies import Copies
from jobs.consistency.judge.verdict import CopyVerdict
from models import codec, ids
from models.message import Message
from models.tables import messages
from storage.availability import hidden
from storage.availability.hidden import Thread, archive_boundary
from storage.clickhouse.driver import ClickHouse
from storage.postgres import locks, writes
from storage.postgres.driver import message_of, translated
from storage.postgres.partitions import Partitions

BATCH = 200

_PUT = text(
    """
INSERT INTO messages (id, user_id, thread_id, role, content, metadata, created_at,
                      updated_at, version, deleted_at, content_hash)
SELECT * FROM json_to_recordset(CAST(:records AS json)) AS r (
    id uuid, user_id text, thread_id text, role text, content text, metadata json,
    created_at timestamptz, updated_at timestamptz, version bigint,
    deleted_at timestamptz, content_hash text)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET
    user_id = excluded.user_id, thread_id = excluded.thread_id, role = excluded.role,
    content = excluded.content, metadata = excluded.metadata,
    created_at = excluded.created_at, updated_at = excluded.updated_at,
    version = excluded.version, deleted_at = excluded.deleted_at,
    content_hash = excluded.content_hash, persisted_at = excluded.persisted_at
"""
)
# What is live above a watermark has opened its thread anew.
_COUNT = text(
    """
UPDATE threads SET message_count = :message_count, last_message_at = :last_message_at,
    created_at = CASE WHEN deleted_at IS NOT NULL AND :message_count > 0
                      THEN CAST(:created_at AS timestamptz) ELSE created_at END,
    deleted_at = CASE WHEN :message_count > 0 THEN NULL ELSE deleted_at END
WHERE user_id = :user_id AND id = :thread_id
"""
)
_OPEN = text(
    """
INSERT INTO threads (user_id, id, created_at, updated_at, version, last_message_at, message_count)
VALUES (:user_id, :thread_id, :created_at, :created_at, 1, :last_message_at, :message_count)
ON CONFLICT (user_id, id) DO NOTHING
"""
)


class PostgresRepair:
    """Writes under the locks of the slots, so that no drain writes the same rows meanwhile."""

    def __init__(self, engine: Engine, server: ClickHouse, slots: int) -> None:
        self._engine = engine
        self._server = server
        self._slots = slots
        self._partitions = Partitions(engine)

    def put(self, verdicts: Sequence[CopyVerdict]) -> None:
        """Puts what is right in the place of what is not, where that is still there.

        Raises `TierUnavailable` with what was done until then committed.
        """
        for at in range(0, len(verdicts), BATCH):
            self._put(verdicts[at : at + BATCH])

    def count(self, threads: Sequence[Thread]) -> None:
        """Has threads state what there is. Raises `TierError`."""
        for at in range(0, len(threads), BATCH):
            batch = threads[at : at + BATCH]
            with translated(), self._engine.begin() as connection:
                self._lock(connection, [ids.shard_of(*thread) for thread in batch])
                found = thread_figures.figures(connection, self._server, batch)
                for thread, figures in found.items():
                    if not figures.is_right:
                        _count(connection, thread, figures)

    def _put(self, verdicts: Sequence[CopyVerdict]) -> None:
        truths = {one.id: one.truth for one in verdicts if one.truth is not None}
        seen = {one.id: one.copies for one in verdicts}
        self._partitions.ensure_for(truths)
        with translated(), self._engine.begin() as connection:
            self._lock(connection, [ids.shard_in(name) for name in truths])
            unchanged = self._unchanged(connection, seen)
            right = [truth for name, truth in truths.items() if name in unchanged]
            # What was deleted since it was judged, or erased by now, does not come back.
            marks = hidden.committed(connection, map(hidden.thread_of, right))
            right = [
                one
                for one in right
                if one.deleted_at is not None or marks[hidden.thread_of(one)].show(one)
            ]
            if right:
                records = {"records": codec.json_array(map(codec.encode, right))}
                connection.execute(_PUT, records)
                writes.queue_backfill(connection, right)

    def _unchanged(self, connection: Connection, seen: Mapping[str, Copies]) -> set[str]:
        query = select(messages).where(messages.c.id.in_(list(seen))).with_for_update()
        now: dict[str, Message] = {row.id: message_of(row) for row in connection.execute(query)}
        # What was archived meanwhile is no longer missing here.
        boundary = archive_boundary(connection)
        return {
            name
            for name, copies in seen.items()
            if now.get(name) == copies.committed and (name in now or name >= boundary)
        }

    def _lock(self, connection: Connection, shards: Sequence[int]) -> None:
        slots = {shard % self._slots for shard in shards}
        locks.lock_slots(connection, slots, locks.PATIENCE)


def _count(connection: Connection, thread: Thread, figures: ThreadFigures) -> None:
    newest, oldest = figures.newest_us, figures.oldest_us
    values = {
        "user_id": thread[0],
        "thread_id": thread[1],
        "created_at": None if oldest is None else ids.timestamp(oldest),
        "last_message_at": None if newest is None else ids.timestamp(newest),
        "message_count": figures.live,
    }
    connection.execute(_COUNT if figures.has_row else _OPEN, values)
