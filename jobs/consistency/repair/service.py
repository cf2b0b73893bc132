"""Repairs what a check found: PostgreSQL first, since the others follow it, then ClickHouse, Redis,
and the figures of threads. Whether something was repaired is read again."""

from collections.abc import Sequence

from jobs.consistency.compare import backlogs
from jobs.consistency.judge.confirmation import BATCH, Confirmation
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.repair.copies import (
    put_into_clickhouse,
    put_into_postgresql,
    put_into_redis,
    relist,
)
from jobs.consistency.report import Difference
from jobs.persist.drain import BackgroundPersistenceService
from jobs.recover.thread_counts import ThreadCounter
from models import ids
from storage.availability import hidden
from storage.availability.hidden import Thread
from storage.postgres.driver import transact
from storage.postgres.tombstones import tombstone_of
from storage.resilience.bites import batches
from storage.tiers import Tiers


class Repair:
    """The verbs that repair. Raise `TierError` with what was done until then done."""

    def __init__(
        self, tiers: Tiers, confirmation: Confirmation, persistence: BackgroundPersistenceService
    ) -> None:
        self._tiers = tiers
        self._confirmation = confirmation
        self._persistence = persistence
        self._counter = ThreadCounter(tiers)

    def messages(self, verdicts: Sequence[CopyVerdict]) -> set[str]:
        """Repairs copies of messages; gives the ids with which nothing is wrong any more."""
        repairable = [self._buried(one) for one in verdicts if one.truth is not None]
        for some in batches(repairable, BATCH):
            batch = self._as_hidden_as_before(some)
            put_into_postgresql(self._tiers, [one for one in batch if "postgresql" in one.wrong])
            archived = [one for one in batch if "clickhouse" in one.wrong]
            put_into_clickhouse(self._tiers.job_clickhouse, archived)
            put_into_redis(self._tiers, batch)
        repaired: set[str] = set()
        for names in batches((one.id for one in repairable), BATCH):
            again, _ = self._confirmation.judge(names)
            repaired |= {one.id for one in again if not one.wrong}
        return repaired

    def threads(self, threads: Sequence[Thread]) -> None:
        """Has threads state what there is."""
        self._counter.correct(threads)
        self._tiers.redis_repair.invalidate_thread_lists({user_id for user_id, _ in threads})

    def others(self, differences: Sequence[Difference]) -> None:
        """Repairs what is wrong in Redis, apart from copies of messages."""
        listed = [one for one in differences if one.kind in {"unlisted", "phantom"}]
        if listed:
            relist(self._tiers, listed)
        # What was drained since is in PostgreSQL, and may be evicted.
        evictable = backlogs.evictable(self._tiers)
        if evictable:
            backlogs.protect(self._tiers, evictable)
        # Copies under keys that nobody reads go where they may be evicted.
        misplaced = [one.id for one in differences if one.kind == "misplaced"]
        self._tiers.redis_repair.evict_committed(misplaced)
        for one in differences:
            slot = backlogs.slot_of(one.id) if one.kind == "orphaned" else None
            if slot is not None:
                self._persistence.drain_all([slot])

    def _as_hidden_as_before(self, verdicts: Sequence[CopyVerdict]) -> list[CopyVerdict]:
        """Those whose thread or user was not deleted since: what was is missing no more."""
        tiers = self._tiers
        threads = {thread for one in verdicts if (thread := one.owner)}
        marks = transact(tiers.job_engine, hidden.known, tiers.redis, threads)
        return [
            one
            for one in verdicts
            if one.is_hidden or ((owner := one.owner) and not marks[owner].hide(one.id))
        ]

    def _buried(self, verdict: CopyVerdict) -> CopyVerdict:
        """What went with its thread gets the tombstone that it lacks."""
        if not verdict.must_be_buried or verdict.truth is None:
            return verdict
        truth, moment = verdict.truth, ids.timestamp(self._tiers.clock.now_us())
        return verdict._replace(truth=tombstone_of(truth, truth.version + 1, moment))
