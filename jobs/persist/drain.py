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
from sqlalchemy import Connection

from jobs.persist.batch import Batch
from jobs.persist.outcome import DrainOutcome
from models import ids
from models.appends import Key
from storage.errors import TierError, TierUnavailable
from storage.postgres import idempotency, writes
from storage.postgres.driver import translated
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import bury_doubles
from storage.redis.pending_log import LogEntry, PendingLog
from storage.resilience.faultpoints import faultpoint
from storage.tiers import Tiers

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

    def __init__(self, tiers: Tiers, log: PendingLog) -> None:
        self.log = log
        self._instruments = tiers.instruments
        self._engine = tiers.request_engine
        self._breaker = tiers.breakers.postgresql
        self._clock = tiers.clock
        self._partitions = Partitions(self._engine)
        self._batch = tiers.settings.drain_batch_messages
        self._idempotency_seconds = tiers.settings.idempotency_seconds

    def drain(self, slots: Sequence[int]) -> Drained:
        """Writes one batch of these slots; those that another worker drains are left to it.

        Raises `TierUnavailable` with nothing lost: the entries stay in the log. The next batch is
        smaller then, for what is in this one may take longer than PostgreSQL has for it.
        """
        try:
            drained = self._drain(slots)
        except TierUnavailable as error:
            if error.tried:
                self.log.bite.shrink_batch()
            raise
        if drained.entries:
            self.log.bite.grow_batch()
        return drained

    def _drain(self, slots: Sequence[int]) -> Drained:
        started = perf_counter()
        with self._breaker.guard(is_bulk=True), translated(), self._engine.begin() as connection:
            locked = writes.try_lock(connection, slots)
            entries = self.log.read(locked, self._batch) if locked else []
            if not entries:
                self.log.clear_wakeups(slots)
                return Drained()
            faultpoint("drain.after_read")
            batch = Batch(connection, self._partitions)
            batch.write(entries)
            outcome = batch.outcome
            self._note_keys(connection, outcome.keys())
            faultpoint("drain.before_commit")
        faultpoint("drain.after_commit")
        self._instruments.persisted(len(entries), perf_counter() - started, len(outcome.refused))
        self.log.record_poll()
        more = self._settle(entries, outcome)
        if outcome.refused:
            shown = [refusal.facts() for refusal in outcome.refused[:SHOWN_REFUSALS]]
            log.error("dead_lettered", entries=len(outcome.refused), refused=shown)
        return Drained(len(entries), batch.written, len(outcome.refused), more)

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
            self.log.record_poll()
            raise
        self.log.record_poll()
        return drained

    def _note_keys(self, connection: Connection, made: list[tuple[Key, str]]) -> None:
        lost = idempotency.record(connection, made, self._idempotency_seconds)
        if lost:
            log.warning("doubles_buried", messages=len(lost))
            bury_doubles(connection, lost, ids.timestamp(self._clock.now_us()))
            writes.queue_backfill(connection, lost)

    def _settle(self, entries: Sequence[LogEntry], outcome: DrainOutcome) -> bool:
        by_slot: dict[int, list[str]] = {}
        for entry in entries:
            by_slot.setdefault(entry.slot, []).append(entry.entry_id)
        return self.log.settle([outcome.committed(*slot) for slot in by_slot.items()]) > 0
