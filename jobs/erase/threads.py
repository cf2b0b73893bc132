"""Takes the content of deleted threads out of every tier, and what PostgreSQL refused of it: each
message at or below a thread's watermark becomes a tombstone, which goes to ClickHouse by way of the
outbox, and its hot copy goes."""

from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from jobs.erase.policies import NOT_ON_HOLD, all_holds
from models import codec, ids
from models.message import Message
from models.tables import messages
from storage.availability import hidden
from storage.postgres.backlog import Letter, letters
from storage.postgres.driver import execute, message_of, rows_of, transact, translated
from storage.postgres.tombstones import bury
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

BATCH_MESSAGES = 500

# Under a legal hold a deleted thread is hidden, and no more than that.
_DUE = (
    "SELECT user_id, id, deleted_through::text FROM threads t"  # noqa: S608
    " WHERE deleted_through IS NOT NULL"
    f" AND erased_through IS DISTINCT FROM deleted_through AND {NOT_ON_HOLD} LIMIT 100"
)
_ERASED = "UPDATE threads SET erased_through = :through WHERE user_id = :user_id AND id = :id"
_TOMBSTONES = (
    "SELECT id::text FROM messages WHERE id = ANY(CAST(:ids AS uuid[])) AND deleted_at IS NOT NULL"
)
_GONE_THREADS = """
SELECT t.user_id, t.id, t.version FROM threads t
JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
    ON t.user_id = r.user_id AND t.id = r.thread_id
WHERE t.deleted_at IS NOT NULL
"""
_DROP = (
    "DELETE FROM dead_letters WHERE id IN ("
    "SELECT id FROM dead_letters WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED) RETURNING id"
)


class ErasureService:
    """Erases what was deleted. Safe to repeat; stops at any point without harm."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    def erase_deleted_threads(self) -> int:
        """Erases every thread that is due; gives how many messages became tombstones."""
        erased = sum(self._erase(thread) for thread in rows_of(self._tiers.job_engine, _DUE))
        with translated(), self._tiers.job_engine.begin() as connection:
            dropped, names = drop_letters(connection)
            # First Redis: with the letter would go what names the copy.
            self._tiers.redis_repair.evict(names)
        if dropped:
            log.warning("dead_letters_dropped", letters=dropped)
        return erased

    def _erase(self, thread: Row[Any]) -> int:
        erased = 0
        while True:
            with translated(), self._tiers.job_engine.begin() as connection:
                batch = _live(connection, thread)
                bury(connection, batch, ids.timestamp(self._tiers.clock.now_us()))
            self._tiers.redis_repair.evict([message.id for message in batch])
            erased += len(batch)
            if len(batch) < BATCH_MESSAGES:
                break
        done = {"user_id": thread.user_id, "id": thread.id, "through": thread.deleted_through}
        transact(self._tiers.job_engine, execute, _ERASED, done)
        return erased


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


def drop_letters(connection: Connection) -> tuple[int, list[str]]:
    """Drops dead letters whose messages or threads are deleted, in the caller's transaction, unless
    they are on hold or somebody is deciding on one at this moment; gives how many, and the hidden
    messages of which Redis has had the last copy."""
    holds = all_holds(connection)
    found = [
        one
        for one in letters(connection)
        if one.address.is_whole(one.kind) and not holds.cover(*_thread(one))
    ]
    if not found:
        return 0, []
    marks = hidden.committed(connection, {_thread(one) for one in found})
    names = [one.address.message_id for one in found if one.address.message_id]
    buried = set(execute(connection, _TOMBSTONES, ids=names).scalars())
    # Of a name that PostgreSQL cannot hold there is no thread.
    named = (thread for thread in marks if "\0" not in "".join(thread))
    threads = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in named]
    rows = execute(connection, _GONE_THREADS, threads=codec.text(threads))
    ended = {(row.user_id, row.id): int(row.version) for row in rows}
    gone: dict[int, str] = {}
    for one in found:
        name = one.address.message_id or ""
        if one.kind == "thread":
            if (one.address.version or 0) < ended.get(_thread(one), 0):
                gone[one.id] = ""
        elif marks[_thread(one)].hide(name):
            gone[one.id] = name
        elif name in buried:
            gone[one.id] = ""
    dropped = execute(connection, _DROP, ids=list(gone)).scalars().all()
    return len(dropped), [gone[number] for number in dropped if gone[number]]


def _thread(letter: Letter) -> hidden.Thread:
    return letter.address.user_id or "", letter.address.thread_id or ""
