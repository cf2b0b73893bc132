"""All threads and messages of all tiers as one stream. The log is drained first; then one snapshot
of PostgreSQL is merged with ClickHouse's messages below the archive boundary. Memory grows only
with the number of erased users."""

import heapq
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from jobs.persist.drain import BackgroundPersistenceService
from models import ids
from models.message import Message, Thread
from storage.availability import hidden
from storage.availability.hidden import Watermarks
from storage.clickhouse.pages import Selection, archived_messages
from storage.errors import TierUnavailable
from storage.postgres.driver import execute, message_of, translated
from storage.postgres.reads import thread_of
from storage.tiers import Tiers

FETCH_ROWS = 5_000
DRAIN_SECONDS = 60.0
DRAIN_PAUSE_SECONDS = 0.05

# A held cursor is a copy that the server keeps for this connection: after the commit it holds no
# lock and no snapshot, so that a slow reader stops neither new partitions nor VACUUM.
# Tombstones are part of it, because ClickHouse may not know of the newest ones yet.
DECLARE_MESSAGES = """
DECLARE exported_messages NO SCROLL CURSOR WITH HOLD FOR
SELECT id::text AS id, user_id, thread_id, role, content, metadata, created_at, updated_at, version,
       deleted_at, content_hash
FROM messages
WHERE (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR thread_id = :thread_id)
ORDER BY user_id COLLATE "C", thread_id COLLATE "C", messages.id
"""
_DECLARE_WATERMARKS = """
DECLARE exported_watermarks NO SCROLL CURSOR WITH HOLD FOR
SELECT user_id, id AS thread_id, deleted_through::text AS deleted_through
FROM threads
WHERE deleted_through IS NOT NULL
  AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR id = :thread_id)
ORDER BY user_id COLLATE "C", id COLLATE "C"
"""
_DECLARE_THREADS = """
DECLARE exported_threads NO SCROLL CURSOR WITH HOLD FOR
SELECT t.user_id, t.id, t.title, t.metadata, t.created_at, t.updated_at, t.version, t.deleted_at,
       NULL AS deleted_through, t.is_pinned, t.is_archived, t.last_message_at, t.message_count
FROM threads t LEFT JOIN user_erasures e ON e.user_id = t.user_id
WHERE t.deleted_at IS NULL AND (e.erased_at IS NULL OR t.created_at > e.erased_at)
  AND (CAST(:user_id AS text) IS NULL OR t.user_id = :user_id)
  AND (CAST(:thread_id AS text) IS NULL OR t.id = :thread_id)
ORDER BY t.user_id COLLATE "C", t.id COLLATE "C"
"""
# Before the snapshot: a partition that is archived after it would be in neither part.
_LOCK = "LOCK TABLE ONLY messages IN ACCESS SHARE MODE"
_ISOLATION = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"


class Watermark(NamedTuple):
    """The id at and below which a thread, of a user, was deleted."""

    thread: tuple[str, str]
    deleted_through: str


@dataclass(eq=False)
class MessageExporter:
    """Reads everything, in order. Several may run at once, beside live traffic."""

    _tiers: Tiers
    _persistence: BackgroundPersistenceService
    fetch_rows: int = FETCH_ROWS

    def everything(
        self,
        selection: Selection = Selection(),  # noqa: B008 - it is immutable.
    ) -> Generator[Thread | Message, None, None]:
        """Live threads, each before its live messages in their newest versions; by user, thread and
        id, each compared by its bytes. Raises `TierUnavailable`, also midway: what was given until
        then is right, but not all."""
        self.drain()
        with snapshot_connection(self._tiers.job_engine) as connection:
            yield from self._read(connection, selection)

    def _read(self, connection: Connection, selection: Selection) -> Iterator[Thread | Message]:
        execute(connection, _LOCK)
        boundary = hidden.archive_boundary(connection)
        erased = hidden.erasures(connection)
        for statement in (_DECLARE_WATERMARKS, _DECLARE_THREADS, DECLARE_MESSAGES):
            execute(connection, statement, selection._asdict())
        connection.commit()

        watermarks, threads, committed = (
            fetch(connection, f"exported_{name}", self.fetch_rows)
            for name in ("watermarks", "threads", "messages")
        )
        parts: list[Iterator[Message]] = [map(message_of, committed)]
        if boundary != ids.LOWEST:
            parts.append(archived_messages(self._tiers.job_clickhouse, selection, below=boundary))
        marks = (Watermark((row.user_id, row.thread_id), row.deleted_through) for row in watermarks)
        messages = live(newest(*parts), marks, erased)
        return heapq.merge((thread_of(row).thread for row in threads), messages, key=position)

    def drain(self) -> None:
        """Waits until all that is acknowledged by now is in PostgreSQL, and helps with it."""
        log, deadline = self._tiers.pending_log, time.monotonic() + DRAIN_SECONDS
        started_us, slots = log.now_us(), range(log.slots)
        while True:
            self._persistence.drain_all(slots)
            # A worker may hold some slots; it is as good as this process at emptying them.
            oldest_us = log.oldest_pending_us()
            if oldest_us is None or oldest_us > started_us:
                return
            if time.monotonic() > deadline:
                raise TierUnavailable("postgresql", "the pending log does not get empty")
            time.sleep(DRAIN_PAUSE_SECONDS)


@contextmanager
def snapshot_connection(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that sees one moment. It never goes back to the pool, since
    held cursors live as long as it does. Errors leave as `TierError`."""
    with translated(), engine.connect() as connection:
        try:
            execute(connection, _ISOLATION)
            yield connection
        finally:
            connection.invalidate()


def fetch(connection: Connection, cursor: str, count: int = FETCH_ROWS) -> Iterator[Any]:
    """The rows of a held cursor; no transaction stays open while the reader takes its time."""
    while True:
        rows = connection.exec_driver_sql(f"FETCH {count} FROM {cursor}").all()
        connection.commit()
        yield from rows
        if len(rows) < count:
            return


def newest(*parts: Iterator[Message]) -> Iterator[Message]:
    """Streams in one order as one, with the highest version of each message."""
    for _, versions in groupby(heapq.merge(*parts, key=position), key=position):
        yield max(versions, key=lambda message: message.version)


def live(
    stream: Iterator[Message], watermarks: Iterator[Watermark], erased: Mapping[str, str]
) -> Iterator[Message]:
    """The stream without what is hidden. Messages and watermarks come in the same order."""
    mark = next(watermarks, None)
    for message in stream:
        thread = message.user_id, message.thread_id
        while mark is not None and mark.thread < thread:
            mark = next(watermarks, None)
        deleted = mark.deleted_through if mark is not None and mark.thread == thread else ids.LOWEST
        if Watermarks(deleted, erased.get(message.user_id, ids.LOWEST)).show(message):
            yield message


def position(record: Thread | Message) -> tuple[str, str, str]:
    """Where something stands in an export. Code points and UTF-8 bytes sort alike."""
    if isinstance(record, Thread):
        return record.user_id, record.id, ""
    return record.user_id, record.thread_id, record.id
