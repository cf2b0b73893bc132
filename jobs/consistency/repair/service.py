"""Mends what a check found: what is right in some tier is put into the others.

PostgreSQL first, since the other two are told by it; then ClickHouse, then Redis, then the figures
of threads. What no tier has right stays as it is, named. Whether something is mended is not
believed but looked at again.
"""

from collections.abc import Sequence

from jobs.consistency.compare import backlogs
from jobs.consistency.judge.confirmation import BATCH, Confirmation
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.repair.clickhouse import ClickHouseRepair
from jobs.consistency.repair.postgres import PostgresRepair
from jobs.consistency.repair.redis import HotRepair
from jobs.consistency.report import Difference
from jobs.persist.drain import BackgroundPersistenceService
from models import ids
from storage.availability import hidden
from storage.availability.hidden import Thread
from storage.postgres.driver import translated
from storage.postgres.tombstones import tombstone_of
from storage.tiers import Tiers


class Repair:
    """The verbs that mend. Raise `TierError` with what was done until then done."""

    def __init__(
        self, tiers: Tiers, look: Confirmation, persistence: BackgroundPersistenceService
    ) -> None:
        settings = tiers.settings
        self._tiers = tiers
        self._look = look
        self._persistence = persistence
        self._postgres = PostgresRepair(tiers.job_engine, tiers.job_clickhouse, settings.shards)
        self._clickhouse = ClickHouseRepair(tiers.job_clickhouse)
        self._redis = HotRepair(
            tiers.redis_door, tiers.redis, tiers.redis_repair, hot_seconds=settings.hot_seconds
        )

    def messages(self, verdicts: Sequence[CopyVerdict]) -> set[str]:
        """Mends copies of messages; gives the ids with which nothing is wrong any more."""
        mendable = [self._buried(one) for one in verdicts if one.truth is not None]
        for at in range(0, len(mendable), BATCH):
            batch = self._as_hidden_as_before(mendable[at : at + BATCH])
            self._postgres.put([one for one in batch if "postgresql" in one.wrong])
            self._clickhouse.put([one for one in batch if "clickhouse" in one.wrong])
            self._redis.put([one for one in batch if one.copies.hot is not None])
        mended: set[str] = set()
        names = [one.id for one in mendable]
        for at in range(0, len(names), BATCH):
            again, _ = self._look.judge(names[at : at + BATCH])
            mended |= {one.id for one in again if not one.wrong}
        return mended

    def threads(self, threads: Sequence[Thread]) -> None:
        """Has threads state what there is."""
        self._postgres.count(threads)
        self._tiers.redis_repair.invalidate_thread_lists({user_id for user_id, _ in threads})

    def hot(self, differences: Sequence[Difference]) -> None:
        """Mends what is wrong with Redis beside its copies."""
        listed = [one for one in differences if one.kind in {"unlisted", "phantom"}]
        if listed:
            self._redis.relist(listed)
        door, log = self._tiers.redis_door, self._tiers.pending_log
        # What was drained since is in PostgreSQL, and may be evicted.
        evictable = backlogs.evictable(door, log)
        if evictable:
            backlogs.protect(door, log, evictable)
        self._redis.drop([one for one in differences if one.kind == "misplaced"])
        for one in differences:
            slot = backlogs.slot_of(one.id) if one.kind == "orphaned" else None
            if slot is not None:
                self._persistence.drain_all([slot])

    def _as_hidden_as_before(self, verdicts: Sequence[CopyVerdict]) -> list[CopyVerdict]:
        """Those whose thread or user was not deleted since: what was is missing no more."""
        tiers = self._tiers
        threads = {thread for one in verdicts if (thread := one.owner)}
        with translated(), tiers.job_engine.connect() as connection:
            marks = hidden.known(connection, tiers.redis_door, tiers.redis.slots, threads)
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
