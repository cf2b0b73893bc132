"""Writes history to PostgreSQL in batches, beside Redis and its log.

The statement is the persist job's: newer versions win, threads and the outbox are written in the
same transaction. So an import may be repeated, stopped and started again, and run beside live
traffic; what is there already stays as it is.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine, select

from models import codec
from models.message import Message
from models.tables import messages
from storage.archive.known import ArchivedVersions, boundary
from storage.errors import TierRejected, TierUnavailable
from storage.importers.source import Refusal
from storage.partitions import Partitions
from storage.postgres_driver import translated
from storage.postgres_writes import upsert_messages
from storage.redis_repair import RedisRepair

Result = TypeVar("Result")
log = structlog.get_logger(__name__)

BATCH_MESSAGES = 5_000
BATCH_BYTES = 16 * 1024 * 1024
"""Records that one statement takes at most, however few they are."""
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.25
"""Doubled after each attempt: about eight seconds in all for a lock or a restart to pass."""


class Imported(NamedTuple):
    """Counts so far: messages read, versions written, messages that were there already (as new
    or newer), messages left out because their thread was deleted, and refusals of this step."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    deleted: int = 0
    refusals: tuple[Refusal, ...] = ()


class _Batch(NamedTuple):
    messages: list[Message]
    records: list[bytes]


class BulkImporter:
    """Imports sealed messages of the past."""

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

    def run(self, source: Iterable[Message]) -> Iterator[Imported]:
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
            )
            yield total

    def _batches(self, source: Iterable[Message]) -> Iterator[_Batch]:
        batch, size = _Batch([], []), 0
        for message in source:
            record = codec.encode(message)
            batch.messages.append(message)
            batch.records.append(record)
            size += len(record)
            if len(batch.records) >= self._batch_messages or size >= BATCH_BYTES:
                yield batch
                batch, size = _Batch([], []), 0
        if batch.records:
            yield batch

    def _import(self, batch: _Batch) -> Imported:
        self._patiently(lambda: self._partitions.ensure_for(one.id for one in batch.messages))
        try:
            done = self._patiently(lambda: self._write(batch))
        except TierRejected as error:
            if len(batch.messages) == 1:
                refusal = Refusal(f"message {batch.messages[0].id}", error.reason)
                return Imported(read=1, refusals=(refusal,))
            return self._import_halves(batch)
        # Also after a batch that changed nothing: the run before this one may have stopped
        # between its commit and here.
        self._patiently(lambda: self._tell_redis(batch.messages))
        return done

    def _import_halves(self, batch: _Batch) -> Imported:
        """Finds the message that PostgreSQL refuses; the others are imported."""
        middle = len(batch.messages) // 2
        halves = [
            self._import(_Batch(batch.messages[part], batch.records[part]))
            for part in (slice(None, middle), slice(middle, None))
        ]
        read, written, unchanged, deleted, refusals = zip(*halves, strict=True)
        return Imported(
            sum(read), sum(written), sum(unchanged), sum(deleted), refusals[0] + refusals[1]
        )

    def _write(self, batch: _Batch) -> Imported:
        with translated(), self._engine.connect() as connection:
            below = boundary(connection)
        known = self._archived.known(batch.messages, below)
        new = [
            (message, record)
            for message, record in zip(batch.messages, batch.records, strict=True)
            if message.id not in known
        ]
        with translated(), self._engine.begin() as connection:
            written = upsert_messages(connection, [record for _, record in new])
            # From the first row on nothing is archived until the end of this transaction.
            if boundary(connection) != below:
                raise TierUnavailable("postgresql", "archiving went on meanwhile", passing=True)
            if written == len(new):
                return Imported(len(batch.records), written, len(known))
            done = _account(connection, [message for message, _ in new], written)
            return done._replace(read=done.read + len(known), unchanged=done.unchanged + len(known))

    def _tell_redis(self, batch: Sequence[Message]) -> None:
        """No hot page may call itself complete, no hot copy may hide a newer version."""
        self._redis.distrust(sorted({(one.user_id, one.thread_id) for one in batch}))
        # A first version cannot be newer than a hot copy.
        self._redis.refresh([one for one in batch if one.version > 1])

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


def _account(connection: Connection, batch: Sequence[Message], written: int) -> Imported:
    """Says of every message that was not written why: nothing is left out in silence."""
    query = select(
        messages.c.id,
        messages.c.user_id,
        messages.c.thread_id,
        messages.c.version,
        messages.c.content_hash,
    ).where(messages.c.id.in_([one.id for one in batch]))
    there = {row.id: row for row in connection.execute(query)}
    deleted = sum(one.id not in there for one in batch)
    refusals = []
    for one in batch:
        row = there.get(one.id)
        if row is None:
            continue
        if (row.user_id, row.thread_id) != (one.user_id, one.thread_id):
            refusals.append(Refusal(f"message {one.id}", "its id belongs to another message"))
        elif row.version == one.version and row.content_hash != one.content_hash:
            reason = "it differs from what is stored under its id and version"
            refusals.append(Refusal(f"message {one.id}", reason))
    unchanged = len(batch) - written - deleted - len(refusals)
    return Imported(len(batch), written, unchanged, deleted, tuple(refusals))
