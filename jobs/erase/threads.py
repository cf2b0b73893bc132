"""Takes the content of deleted threads out of PostgreSQL, ClickHouse and Redis, and what PostgreSQL
refused of what is deleted.

Each message at or below a thread's watermark becomes a tombstone: the row holds nothing of what
was written, goes to ClickHouse as a newer version by way of the outbox, and its hot copy goes.
"""

from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Row, select, text, update

from jobs.erase.dead_letters import drop_deleted
from models import ids
from models.ids import Clock
from models.message import Message
from models.tables import messages, threads
from storage.postgres.driver import message_of, translated
from storage.postgres.tombstones import bury
from storage.redis.repair import RedisRepair

log = structlog.get_logger(__name__)

BATCH_MESSAGES = 500

_DUE = (
    select(threads.c.user_id, threads.c.id, threads.c.deleted_through, threads.c.erased_through)
    .where(
        threads.c.deleted_through.is_not(None),
        threads.c.erased_through.is_distinct_from(threads.c.deleted_through),
        # Under a legal hold a deleted thread is hidden, and no more than that.
        text(
            "NOT EXISTS (SELECT FROM retention_policies p WHERE p.legal_hold"
            " AND p.user_id = threads.user_id AND p.thread_id IN ('', threads.id))"
        ),
    )
    .limit(100)
)


class ErasureService:
    """Erases what was deleted. Safe to repeat; stops at any point without harm."""

    def __init__(self, engine: Engine, redis: RedisRepair, clock: Clock) -> None:
        self._engine = engine
        self._redis = redis
        self._clock = clock

    def erase_deleted_threads(self) -> int:
        """Erases every thread that is due; gives how many messages became tombstones."""
        with translated(), self._engine.begin() as connection:
            due = connection.execute(_DUE).all()
        erased = sum(self._erase(thread) for thread in due)
        with translated(), self._engine.begin() as connection:
            dropped = drop_deleted(connection)
            # First Redis: with the letter would go what names the copy.
            self._redis.forget(dropped.hidden)
        if dropped.letters:
            log.warning("dead_letters_dropped", letters=dropped.letters)
        return erased

    def _erase(self, thread: Row[Any]) -> int:
        erased = 0
        while True:
            with translated(), self._engine.begin() as connection:
                batch = _live(connection, thread)
                bury(connection, batch, ids.timestamp(self._clock.now_us()))
            self._redis.forget([message.id for message in batch])
            erased += len(batch)
            if len(batch) < BATCH_MESSAGES:
                break
        self._finish(thread)
        return erased

    def _finish(self, thread: Row[Any]) -> None:
        done = (
            update(threads)
            .where(threads.c.user_id == thread.user_id, threads.c.id == thread.id)
            .values(erased_through=thread.deleted_through)
        )
        with translated(), self._engine.begin() as connection:
            connection.execute(done)


def _live(connection: Connection, thread: Row[Any]) -> list[Message]:
    query = (
        select(messages)
        .where(
            messages.c.user_id == thread.user_id,
            messages.c.thread_id == thread.id,
            messages.c.id <= thread.deleted_through,
            messages.c.deleted_at.is_(None),
        )
        .order_by(messages.c.id)
        .limit(BATCH_MESSAGES)
    )
    return [message_of(row) for row in connection.execute(query)]
