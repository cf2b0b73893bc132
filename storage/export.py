"""All messages of all tiers as one stream: what an import would need to have them again.

First the log is drained, so that PostgreSQL holds all that was acknowledged before the export
began. Then PostgreSQL's rows, as one snapshot, are merged with what lies in ClickHouse below the
archive boundary. Memory stays the same however many there are.
"""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from models import ids
from models.message import Message
from storage import hidden
from storage.archived_rows import Selection, archived_messages
from storage.clickhouse_driver import ClickHouse
from storage.errors import TierUnavailable
from storage.hidden import Marks
from storage.pending_log import PendingLog
from storage.persistence import BackgroundPersistenceService
from storage.postgres_driver import message_of, translated

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
# Before the snapshot: a partition that is archived after it would be in neither part.
_LOCK = text("LOCK TABLE ONLY messages IN ACCESS SHARE MODE")
_ISOLATION = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


class Watermark(NamedTuple):
    """The id at and below which a thread, of a user, was deleted."""

    thread: tuple[str, str]
    deleted_through: str


class Exporter:
    """Reads everything, in order. Several may run at once, beside live traffic."""

    def __init__(
        self,
        engine: Engine,
        clickhouse: ClickHouse,
        log: PendingLog,
        persistence: BackgroundPersistenceService,
        fetch_rows: int = FETCH_ROWS,
    ) -> None:
        self._engine = engine
        self._clickhouse = clickhouse
        self._log = log
        self._persistence = persistence
        self._fetch_rows = fetch_rows

    def messages(self, selection: Selection = Selection()) -> Iterator[Message]:  # noqa: B008
        """Live messages, newest versions, by user, thread and id, each compared by its bytes.

        Raises `TierUnavailable` when a tier that may hold some of them does not answer, also
        midway: what was given until then is right, but not all.
        """
        self.drain()
        with translated(), self._engine.connect() as connection:
            try:
                yield from self._read(connection, selection)
            finally:
                # Held cursors live as long as their connection, which must not go back to the
                # pool with them, however the reading ended.
                connection.invalidate()

    def _read(self, connection: Connection, selection: Selection) -> Iterator[Message]:
        boundary = _declare(connection, selection)
        erased = hidden.erasures(connection)
        connection.commit()
        watermarks = (
            Watermark((row.user_id, row.thread_id), row.deleted_through)
            for row in self._fetch(connection, "exported_watermarks")
        )
        committed = (message_of(row) for row in self._fetch(connection, "exported_messages"))
        if boundary == ids.LOWEST:
            return live(committed, watermarks, erased)
        archived = archived_messages(self._clickhouse, selection, below=boundary)
        return live(newest(committed, archived), watermarks, erased)

    def drain(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Waits until all that is acknowledged by now is in PostgreSQL, and helps with it."""
        started_us = self._log.now_us()
        deadline = time.monotonic() + DRAIN_SECONDS
        slots = range(self._log.slots)
        while True:
            self._persistence.drain_all(slots)
            # A worker may hold some slots; it is as good as this process at emptying them.
            oldest_us = self._log.oldest_pending_us()
            if oldest_us is None or oldest_us > started_us:
                return
            if time.monotonic() > deadline:
                raise TierUnavailable("postgresql", "the pending log does not get empty")
            sleep(DRAIN_PAUSE_SECONDS)

    def _fetch(self, connection: Connection, cursor: str) -> Iterator[Any]:
        while True:
            rows = connection.exec_driver_sql(f"FETCH {self._fetch_rows} FROM {cursor}").all()
            # No transaction stays open while the reader takes its time.
            connection.commit()
            yield from rows
            if len(rows) < self._fetch_rows:
                return


def newest(*parts: Iterator[Message]) -> Iterator[Message]:
    """Streams in one order as one, with the highest version of each message."""
    for _, versions in groupby(heapq.merge(*parts, key=position), key=position):
        yield max(versions, key=lambda message: message.version)


def live(
    stream: Iterator[Message], watermarks: Iterator[Watermark], erased: Mapping[str, str]
) -> Iterator[Message]:
    """The stream without tombstones and without what went with its thread or its user.

    Messages and watermarks come in the same order, so that one watermark at a time is at hand.
    """
    mark = next(watermarks, None)
    for message in stream:
        thread = message.user_id, message.thread_id
        while mark is not None and mark.thread < thread:
            mark = next(watermarks, None)
        of_thread = (
            mark.deleted_through if mark is not None and mark.thread == thread else ids.LOWEST
        )
        marks = Marks(of_thread, erased.get(message.user_id, ids.LOWEST))
        if marks.show(message):
            yield message


def position(message: Message) -> tuple[str, str, str]:
    """Where a message stands in an export. Code points and UTF-8 bytes sort alike."""
    return message.user_id, message.thread_id, message.id


def _declare(connection: Connection, selection: Selection) -> str:
    """Takes the snapshot; gives the archive boundary as of then."""
    connection.execute(_ISOLATION)
    connection.execute(_LOCK)
    boundary = hidden.archive_boundary(connection)
    for statement in (_DECLARE_WATERMARKS, DECLARE_MESSAGES):
        connection.execute(text(statement), selection._asdict())
    connection.commit()
    return boundary
