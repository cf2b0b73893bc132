"""Writes history to PostgreSQL in batches, beside Redis and its log.

The statement is the persist job's: newer versions win, threads and the outbox are written in the
same transaction. So an import may be repeated, stopped and started again, and run beside live
traffic; what is there already stays as it is. A message of someone else's making is there if its
thread has, at its time, one that its source knows by the same.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine, Row, select

from jobs.archive.known_versions import ArchivedVersions
from jobs.transfer.formats.settling import Settlement, spans
from jobs.transfer.formats.source import Kept, Minted, RefusedLine
from jobs.transfer.imported_ids import ids_within, lock_imports, of_known_threads
from jobs.transfer.imported_threads import as_they_are, write_threads
from models import codec
from models.appends import Held
from models.message import Message, Thread
from models.tables import messages
from storage.availability.hidden import archive_boundary
from storage.errors import TierRejected, TierUnavailable
from storage.postgres.driver import translated
from storage.postgres.partitions import Partitions
from storage.postgres.writes import take_in
from storage.redis.repair import RedisRepair

Result = TypeVar("Result")
log = structlog.get_logger(__name__)

BATCH_MESSAGES = 5_000
BATCH_BYTES = 16 * 1024 * 1024
"""Records that one statement takes at most, however few they are."""
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.25
"""Doubled after each attempt: about eight seconds in all for a lock or a restart to pass."""


class Imported(NamedTuple):
    """Counts so far: what was read, versions of messages written, messages that were there already
    (as new or newer), messages left out because their thread or user was deleted, refusals of this
    step, threads read, and those of them whose own data was written."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    deleted: int = 0
    refusals: tuple[RefusedLine, ...] = ()
    threads_read: int = 0
    threads: int = 0


class _Given(NamedTuple):
    """What a batch became: its threads, its messages, where each of these stands in its source,
    what is archived of them, what cannot be kept, and the ids of what is hidden."""

    threads: list[Thread]
    messages: list[Message]
    wheres: list[str]
    archived: set[str]
    refusals: tuple[RefusedLine, ...]
    hidden: frozenset[str] = frozenset()


class BulkImporter:
    """Imports threads and messages of the past."""

    def __init__(
        self,
        engine: Engine,
        redis: RedisRepair,
        archived: ArchivedVersions,
        batch_messages: int = BATCH_MESSAGES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._archived = archived
        self._partitions = Partitions(engine)
        self._batch_messages = batch_messages
        self._pause = pause

    def run(self, source: Iterable[Kept]) -> Iterator[Imported]:
        """Imports all, batch by batch, giving the counts so far after each commit.

        Raises `TierUnavailable` when PostgreSQL or Redis stays away; what was counted is
        committed, and repeating the import does the rest.
        """
        total = Imported()
        for batch in self._batches(source):
            step = self._import(batch)
            total = Imported(
                total.read + step.read,
                total.written + step.written,
                total.unchanged + step.unchanged,
                total.deleted + step.deleted,
                step.refusals,
                total.threads_read + step.threads_read,
                total.threads + step.threads,
            )
            yield total

    def _batches(self, source: Iterable[Kept]) -> Iterator[list[Kept]]:
        batch: list[Kept] = []
        size = 0
        for item in source:
            batch.append(item)
            size += len(codec.encode(_record_of(item)))
            if len(batch) >= self._batch_messages or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _import(self, batch: Sequence[Kept]) -> Imported:
        names = [_record_of(item).id for item in batch if not isinstance(item, Thread)]
        self._patiently(lambda: self._partitions.ensure_for(names))
        try:
            given, done = self._patiently(lambda: self._write(batch))
        except TierRejected as error:
            if len(batch) == 1:
                refusal = RefusedLine(_where(batch[0]), error.reason)
                return Imported(read=1, refusals=(refusal,))
            return self._import_halves(batch)
        # Also after a batch that changed nothing: the run before this one may have stopped
        # between its commit and here.
        self._patiently(lambda: self._tell_redis(given))
        return done

    def _import_halves(self, batch: Sequence[Kept]) -> Imported:
        """Finds the message that PostgreSQL refuses; the others are imported."""
        middle = len(batch) // 2
        halves = [self._import(batch[part]) for part in (slice(middle), slice(middle, None))]
        read, written, unchanged, deleted, refusals, threads_read, threads = zip(
            *halves, strict=True
        )
        return Imported(
            sum(read),
            sum(written),
            sum(unchanged),
            sum(deleted),
            refusals[0] + refusals[1],
            sum(threads_read),
            sum(threads),
        )

    def _write(self, batch: Sequence[Kept]) -> tuple[_Given, Imported]:
        places = spans(batch)
        with translated(), self._engine.connect() as connection:
            below = archive_boundary(connection)
            old = of_known_threads(connection, {one for one in places if one.low < below})
        archived = self._archived.within(old)
        own = [item for item in batch if isinstance(item, Message)]
        known = self._archived.known(own, below) | {one.id for one in archived}
        with translated(), self._engine.begin() as connection:
            if places:
                # Two imports of the same messages at the same moment must not both find nothing.
                lock_imports(connection)
            wanted = of_known_threads(connection, places)
            held = [*archived, *ids_within(connection, wanted)]
            given = _settle(batch, held, known)
            # Before the messages, which would open them as threads that nobody named.
            threads = write_threads(connection, given.threads)
            new = [one for one in given.messages if one.id not in given.archived]
            written, hidden = take_in(connection, [codec.encode(one) for one in new])
            # From the first row on nothing is archived until the end of this transaction.
            if archive_boundary(connection) != below:
                raise TierUnavailable("postgresql", "archiving went on meanwhile", passing=True)
            done = _account(connection, given, written)
            return given._replace(hidden=hidden), done._replace(
                read=done.read + len(given.threads),
                threads_read=len(given.threads),
                threads=threads,
            )

    def _tell_redis(self, given: _Given) -> None:
        """No hot page may call itself complete, no hot copy may hide a newer version."""
        shown = {
            (one.user_id, one.thread_id) for one in given.messages if one.id not in given.hidden
        }
        self._redis.invalidate_indexes(sorted(shown))
        # A first version cannot be newer than a hot copy.
        self._redis.refresh([one for one in given.messages if one.version > 1])
        with translated(), self._engine.connect() as connection:
            threads = as_they_are(connection, given.threads)
        for thread in threads:
            self._redis.refresh_thread(thread)

    def _patiently(self, work: Callable[[], Result]) -> Result:
        """Does it again after a pause, as long as the tier may come back."""
        pause_seconds = FIRST_PAUSE_SECONDS
        for _ in range(ATTEMPTS - 1):
            try:
                return work()
            except TierUnavailable as error:
                log.info("import_waits", tier=error.tier, reason=error.reason)
                self._pause(pause_seconds)
                pause_seconds *= 2
        return work()


def _settle(batch: Sequence[Kept], held: Iterable[Held], archived: set[str]) -> _Given:
    settlement = Settlement(held)
    given = _Given([], [], [], archived, ())
    refusals = []
    for item in batch:
        settled = settlement.settle(item)
        if isinstance(settled, RefusedLine):
            refusals.append(settled)
        elif isinstance(settled, Thread):
            given.threads.append(settled)
        else:
            given.messages.append(settled)
            given.wheres.append(_where(item))
    return given._replace(refusals=tuple(refusals))


def _record_of(item: Kept) -> Message | Thread:
    return item.message if isinstance(item, Minted) else item


def _where(item: Kept) -> str:
    if isinstance(item, Minted):
        return item.where
    return f"{'message' if isinstance(item, Message) else 'thread'} {item.id}"


def _account(connection: Connection, given: _Given, written: int) -> Imported:
    """Says of every message that was not written why: nothing is left out in silence."""
    new = [
        (one, where)
        for one, where in zip(given.messages, given.wheres, strict=True)
        if one.id not in given.archived
    ]
    deleted = 0
    refusals = list(given.refusals)
    if written < len(new):
        query = select(
            messages.c.id,
            messages.c.user_id,
            messages.c.thread_id,
            messages.c.version,
            messages.c.content_hash,
        ).where(messages.c.id.in_([one.id for one, _ in new]))
        there = {row.id: row for row in connection.execute(query)}
        deleted = sum(one.id not in there for one, _ in new)
        for one, where in new:
            reason = _difference(one, there.get(one.id))
            if reason is not None:
                refusals.append(RefusedLine(where, reason))
    read = len(given.messages) + len(given.refusals)
    unchanged = read - written - deleted - len(refusals)
    return Imported(read, written, unchanged, deleted, tuple(refusals))


def _difference(one: Message, row: Row[Any] | None) -> str | None:
    """Why a message is neither written nor there already; None if it is either, or was deleted."""
    if row is None:
        return None
    if (row.user_id, row.thread_id) != (one.user_id, one.thread_id):
        return "its id belongs to another message"
    if row.version == one.version and row.content_hash != one.content_hash:
        return "it differs from what is stored of it in the same version"
    return None
