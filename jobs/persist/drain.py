"""Carries the pending log to PostgreSQL: the normal writer of committed messages. Beside it write
the failover of a post, the hand-off from ClickHouse, imports and recoveries.

A drain takes entries of one or more slots and writes them in one transaction. The log forgets
them after the commit: a crash between the two repeats the batch, which changes nothing, because
only newer versions are written. What PostgreSQL refuses is bisected out and kept as a dead
letter; it never holds up its slot.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from jobs.persist.outcome import DrainOutcome, Item
from jobs.persist.refusal import RefusedEntry
from jobs.persist.state_batch import StateBatch
from models import codec, ids
from models.appends import Key
from models.ids import Clock
from models.message import Thread
from models.tables import messages
from storage.errors import TierError, TierUnavailable
from storage.postgres import idempotency, writes
from storage.postgres.driver import is_transient, message_of, translated
from storage.postgres.locks import try_lock_slots
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import bury_doubles
from storage.redis.pending_log import CommittedBatch, LogEntry, PendingLog
from storage.resilience.breaker import Breaker
from storage.resilience.faultpoints import faultpoint
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)

SHOWN_REFUSALS = 20
"""Of one drain, so many are named in the log line; the table has them all."""


class Drained(NamedTuple):
    """Counts of one drain: entries taken, versions written, entries refused, and whether the
    slots drained still hold entries."""

    entries: int = 0
    written: int = 0
    refused: int = 0
    more: bool = False


class BackgroundPersistenceService:
    """Drains the pending log. Safe to run anywhere, any number of times at once."""

    def __init__(
        self,
        log: PendingLog,
        engine: Engine,
        breaker: Breaker,
        clock: Clock,
        instruments: Instruments,
        *,
        batch_messages: int,
        idempotency_seconds: int,
    ) -> None:
        self.log = log
        self._instruments = instruments
        self._engine = engine
        self._breaker = breaker
        self._clock = clock
        self._partitions = Partitions(engine)
        self._batch = batch_messages
        self._idempotency_seconds = idempotency_seconds

    def drain(self, slots: Sequence[int]) -> Drained:
        """Writes one batch of these slots; those that another worker drains are left to it.

        Raises `TierUnavailable` with nothing lost: the entries stay in the log. The next batch is
        smaller then, for what is in this one may take longer than PostgreSQL has for it.
        """
        try:
            drained = self._drain(slots)
        except TierUnavailable as error:
            if error.tried:
                self.log.shrink_batch()
            raise
        if drained.entries:
            self.log.grow_batch()
        return drained

    def _drain(self, slots: Sequence[int]) -> Drained:
        started = perf_counter()
        with self._breaker.guard(is_bulk=True), translated(), self._engine.begin() as connection:
            locked = try_lock_slots(connection, slots)
            entries = self.log.read(locked, self._batch) if locked else []
            if not entries:
                self.log.clear_wakeups(slots)
                return Drained()
            faultpoint("drain.after_read")
            batch = Batch(connection, self._partitions)
            batch.write(entries)
            self._note_keys(connection, batch)
            faultpoint("drain.before_commit")
        faultpoint("drain.after_commit")
        self._instruments.persisted(len(entries), perf_counter() - started, len(batch.refused))
        self.log.mark()
        more = self._settle(entries, batch)
        if batch.refused:
            shown = [refusal.facts() for refusal in batch.refused[:SHOWN_REFUSALS]]
            log.error("dead_lettered", entries=len(batch.refused), refused=shown)
        return Drained(len(entries), batch.written, len(batch.refused), more)

    def drain_all(self, slots: Sequence[int]) -> Drained:
        """Drains until these slots are empty, or another worker has them."""
        written = refused = entries = 0
        while True:
            step = self.drain(slots)
            entries += step.entries
            written += step.written
            refused += step.refused
            if not step.more:
                return Drained(entries, written, refused)

    def drain_backlog(self) -> Drained:
        """Drains every slot that holds entries, whoever was to be woken for them."""
        try:
            slots = [slot for slot, length in enumerate(self.log.backlog()) if length]
            drained = self.drain_all(slots) if slots else Drained()
        except TierError:
            # Whoever finds PostgreSQL out has looked all the same.
            self.log.mark()
            raise
        self.log.mark()
        return drained

    def _note_keys(self, connection: Connection, batch: "Batch") -> None:
        lost = idempotency.record(connection, batch.keys(), self._idempotency_seconds)
        if lost:
            log.warning("doubles_buried", messages=len(lost))
            bury_doubles(connection, lost, ids.timestamp(self._clock.now_us()))
            writes.queue_backfill(connection, lost)

    def _settle(self, entries: Sequence[LogEntry], batch: "Batch") -> bool:
        by_slot: dict[int, list[str]] = {}
        for entry in entries:
            by_slot.setdefault(entry.slot, []).append(entry.entry_id)
        return self.log.settle([batch.committed(*slot) for slot in by_slot.items()]) > 0


class Batch:
    """One transaction's worth of log entries, and what is to be settled after its commit.

    Also the road by which a dead letter is tried again.
    """

    def __init__(self, connection: Connection, partitions: Partitions) -> None:
        self._connection = connection
        self._partitions = partitions
        self._messages: list[Item] = []
        self._outcome = DrainOutcome()
        self._states = StateBatch(connection, self._refuse)
        self.written = 0

    @property
    def refused(self) -> list[RefusedEntry]:
        """The entries that PostgreSQL will not take."""
        return self._outcome.refused

    def write(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            self._sort(entry)
        self.written += self._states.write()
        if not self._messages:
            return
        self._partitions.ensure_for(item.message.id for item in self._messages)
        self._write_messages(self._messages)

    def keys(self) -> list[tuple[Key, str]]:
        """The Idempotency-Keys of what was stored, with the messages they made."""
        return self._outcome.keys()

    def committed(self, slot: int, entry_ids: list[str]) -> CommittedBatch:
        """What the log is to settle of one slot."""
        return self._outcome.committed(slot, entry_ids, self._states.lifetimes(slot))

    def _sort(self, entry: LogEntry) -> None:
        """Threads are written at once, messages and states are gathered, what is none of these is
        refused."""
        try:
            if entry.kind == "thread":
                thread = codec.decode_thread(entry.record)
                self._write_thread(entry, thread)
            elif entry.kind == "message":
                message = codec.decode(entry.record)
                if not ids.is_id(message.id):
                    raise codec.Corrupt("its id is not a message id")
                self._messages.append(Item(entry, message))
            elif entry.kind == "state":
                self._states.add(entry)
            else:
                raise codec.Corrupt("an entry of no known kind")
        except codec.Corrupt as error:
            self._refuse(entry, str(error))

    def _write_thread(self, entry: LogEntry, thread: Thread) -> None:
        try:
            with self._connection.begin_nested():
                writes.upsert_thread(self._connection, thread)
        except DBAPIError as error:
            if is_transient(error):
                raise
            self._refuse(entry, str(error.orig))
        else:
            self._outcome.threads.append((entry, thread))

    def _write_messages(self, items: Sequence[Item]) -> None:
        """All of them at once; where PostgreSQL refuses, each half for itself."""
        try:
            with self._connection.begin_nested():
                records = [item.entry.record for item in items]
                written, hidden = writes.take_in(self._connection, records)
                if written + len(hidden) < len({item.message.id for item in items}):
                    self._tell_redis_of_newer(items)
                self.written += written
            self._outcome.take(items, hidden)
        except (DBAPIError, ValueError) as error:
            if isinstance(error, DBAPIError) and is_transient(error):
                raise
            if len(items) == 1:
                reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
                self._refuse(items[0].entry, reason)
                return
            middle = len(items) // 2
            self._write_messages(items[:middle])
            self._write_messages(items[middle:])

    def _tell_redis_of_newer(self, items: Sequence[Item]) -> None:
        """A replica that was promoted without its primary's end logs what PostgreSQL has beyond."""
        logged: dict[str, int] = {}
        for _, message in items:
            logged[message.id] = max(message.version, logged.get(message.id, 0))
        query = select(messages).where(messages.c.id.in_(logged))
        found = map(message_of, self._connection.execute(query))
        newer = [message for message in found if message.version > logged[message.id]]
        if newer:
            writes.queue_backfill(self._connection, newer)

    def _refuse(self, entry: LogEntry, reason: str) -> None:
        reason = reason.strip()
        writes.add_dead_letter(
            self._connection, entry.slot, entry.entry_id, entry.kind, entry.record, reason
        )
        self._outcome.refused.append(RefusedEntry(entry, reason))
