"""Mends what a check found: what is right in some tier is put into the others.

PostgreSQL first, since the other two are told by it; then ClickHouse, then Redis, then the figures
of threads. What no tier has right stays as it is, named. Whether something is mended is not
believed but looked at again.
"""

from collections.abc import Sequence

import msgspec

from models import codec, ids
from models.message import Message
from storage.consistency import pending
from storage.consistency.counters import Thread
from storage.consistency.repair_clickhouse import ClickHouseRepair
from storage.consistency.repair_postgres import PostgresRepair
from storage.consistency.repair_redis import HotRepair
from storage.consistency.report import Difference
from storage.consistency.second_look import BATCH, SecondLook
from storage.consistency.verdict import Verdict
from storage.persistence import BackgroundPersistenceService
from storage.tiers import Tiers


class Repair:
    """The verbs that mend. Raise `TierError` with what was done until then done."""

    def __init__(
        self, tiers: Tiers, look: SecondLook, persistence: BackgroundPersistenceService
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

    def messages(self, verdicts: Sequence[Verdict]) -> set[str]:
        """Mends copies of messages; gives the ids with which nothing is wrong any more."""
        mendable = [self._buried(one) for one in verdicts if one.truth is not None]
        self._postgres.put([one for one in mendable if "postgresql" in one.wrong])
        self._clickhouse.put([one for one in mendable if "clickhouse" in one.wrong])
        self._redis.put([one for one in mendable if one.copies.hot is not None])
        mended: set[str] = set()
        names = [one.id for one in mendable]
        for at in range(0, len(names), BATCH):
            again, _ = self._look.judge(names[at : at + BATCH])
            mended |= {one.id for one in again if not one.wrong}
        return mended

    def threads(self, threads: Sequence[Thread]) -> None:
        """Has threads state what there is."""
        self._postgres.count(threads)
        self._tiers.redis_repair.outdate({user_id for user_id, _ in threads})

    def hot(self, differences: Sequence[Difference]) -> None:
        """Mends what is wrong with Redis beside its copies."""
        listed = [one for one in differences if one.kind in {"unlisted", "phantom"}]
        if listed:
            self._redis.relist(listed)
        door, log = self._tiers.redis_door, self._tiers.pending_log
        # What was drained since is in PostgreSQL, and may be evicted.
        evictable = pending.evictable(door, log)
        if evictable:
            pending.protect(door, log, evictable)
        self._redis.drop([one for one in differences if one.kind == "misplaced"])
        for one in differences:
            slot = pending.slot_of(one.id) if one.kind == "orphaned" else None
            if slot is not None:
                self._persistence.drain_all([slot])

    def _buried(self, verdict: Verdict) -> Verdict:
        """What went with its thread gets the tombstone that it lacks."""
        if not verdict.must_be_buried or verdict.truth is None:
            return verdict
        moment = ids.timestamp(self._tiers.clock.now_us())
        return verdict._replace(truth=_tombstone(verdict.truth, moment))


def _tombstone(message: Message, moment: str) -> Message:
    return codec.seal(
        msgspec.structs.replace(
            message,
            version=message.version + 1,
            content="",
            metadata={},
            updated_at=moment,
            deleted_at=moment,
        )
    )
