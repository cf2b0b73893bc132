"""Drains the pending log to PostgreSQL, one batch of entries a transaction.

Entries leave the log after the commit: a crash between the two repeats the batch, which changes
nothing, because only newer versions are written. What PostgreSQL refuses becomes a dead letter, and
never holds up its slot.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from jobs.persist.batch import Batch
from models import ids
from models.appends import Key, Made
from storage.errors import TierError
from storage.postgres import idempotency, writes
from storage.postgres.driver import translated
from storage.postgres.locks import try_lock_slots
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import bury_doubles
from storage.redis.pending_log import PendingLog
from storage.resilience.faultpoints import faultpoint
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

SHOWN_REFUSALS = 20
"""Named in one log line; the table has all of them."""


class Drained(NamedTuple):
    """Counts of one drain: entries taken, versions written, entries refused, and whether the
    slots drained held more."""

    entries: int = 0
    written: int = 0
    refused: int = 0
    more: bool = False


class BackgroundPersistenceService:
    """Drains the pending log. Any number of them may run at once."""

    def __init__(self, tiers: Tiers, log: PendingLog) -> None:
        self.log = log
        self._tiers = tiers
        self._partitions = Partitions(tiers.request_engine)

    def drain(self, slots: Sequence[int]) -> Drained:
        """Writes one batch of these slots, except those that another worker drains.

        Raises `TierUnavailable`: the entries stay in the log, and the next batch is smaller, for
        this one may have been too large.
        """
        with self.log.bite.attempt():
            drained = self._drain(slots)
        if drained.entries:
            self.log.bite.grow_batch()
        return drained

    def _drain(self, slots: Sequence[int]) -> Drained:
        started, most = perf_counter(), self._tiers.settings.drain_batch_messages
        guard = self._tiers.breakers.postgresql.guard(is_bulk=True)
        with guard, translated(), self._tiers.request_engine.begin() as connection:
            locked = try_lock_slots(connection, slots)
            entries, is_cut = self.log.read_batch(locked, most) if locked else ([], False)
            if not entries:
                return Drained()
            faultpoint("drain.after_read")
            batch = Batch(connection, self._partitions)
            batch.write(entries)
            outcome = batch.outcome
            self._note_keys(connection, outcome.keys())
            faultpoint("drain.before_commit")
        faultpoint("drain.after_commit")
        seconds = perf_counter() - started
        self._tiers.instruments.persisted(len(entries), seconds, len(outcome.refused))
        self.log.record_poll()
        self.log.settle(outcome.committed())
        if outcome.refused:
            shown = [refusal.facts() for refusal in outcome.refused[:SHOWN_REFUSALS]]
            log.error("dead_lettered", entries=len(outcome.refused), refused=shown)
        return Drained(len(entries), batch.written, len(outcome.refused), is_cut)

    def drain_all(self, slots: Sequence[int]) -> Drained:
        """Drains all that these slots hold now, except those that another worker drains. What
        comes meanwhile is for the next drain, which is the larger for it."""
        written = refused = entries = 0
        while True:
            step = self.drain(slots)
            entries += step.entries
            written += step.written
            refused += step.refused
            if not step.more:
                return Drained(entries, written, refused)

    def drain_backlog(self) -> Drained:
        """Drains every slot that holds entries."""
        try:
            slots = [slot for slot, length in enumerate(self.log.backlog()) if length]
            drained = self.drain_all(slots) if slots else Drained()
        except TierError:
            # The log was polled even where PostgreSQL is down.
            self.log.record_poll()
            raise
        self.log.record_poll()
        return drained

    def _note_keys(self, connection: Connection, made: list[tuple[Key, Made]]) -> None:
        lost = idempotency.record(connection, made, self._tiers.settings.idempotency_seconds)
        if lost:
            log.warning("doubles_buried", messages=len(lost))
            bury_doubles(connection, lost, ids.timestamp(self._tiers.clock.now_us()))
            writes.queue_backfill(connection, lost)
