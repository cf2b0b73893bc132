"""The right copies into Redis, and no index that claims more than it lists."""

import hashlib
from collections.abc import Sequence
from typing import Any

from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Difference
from models import codec
from storage.redis import keys
from storage.redis.driver import RedisGateway, Script
from storage.redis.messages import RedisTier
from storage.redis.repair import RedisRepair

BATCH = 200


class HotRepair:
    """Corrects copies that are still what was looked at; whatever was written since stays."""

    def __init__(
        self, door: RedisGateway, redis: RedisTier, repair: RedisRepair, *, hot_seconds: int
    ) -> None:
        self._door = door
        self._redis = redis
        self._repair = repair
        self._hot_seconds = hot_seconds
        self._correct = Script(door, "correct")

    def put(self, verdicts: Sequence[CopyVerdict]) -> None:
        """Puts what is right in the place of what is not. Raises `TierError`."""
        calls = [call for call in map(self._call, verdicts) if call is not None]
        for at in range(0, len(calls), BATCH):
            self._correct.many(calls[at : at + BATCH])

    def relist(self, differences: Sequence[Difference]) -> None:
        """Has indexes claim nothing, so that they are read anew from below; entries of what is
        nowhere leave them. Raises `TierError`."""
        threads = {(one.user_id or "", one.thread_id or "") for one in differences}
        self._repair.invalidate_indexes(sorted(threads))
        with self._door.guarded() as client:
            pipeline: Any = client.pipeline(transaction=False)
            for one in differences:
                if one.kind == "phantom":
                    thread = (one.user_id or "", one.thread_id or "")
                    slot = self._redis.slot_of_thread(*thread)
                    pipeline.zrem(keys.index(slot, *thread), one.id)
            pipeline.execute()

    def drop(self, differences: Sequence[Difference]) -> None:
        """Drops copies under keys that nobody reads, where they may be evicted."""
        self._repair.drop_committed([one.id for one in differences])

    def _call(self, verdict: CopyVerdict) -> tuple[list[str], list[Any]] | None:
        truth, hot = verdict.truth, verdict.copies.hot
        if truth is None or hot is None:
            return None
        slot = self._redis.slot_of_message(truth.id)
        seen = hashlib.sha1(hot.record, usedforsecurity=False).hexdigest()
        gone = "1" if truth.deleted_at or verdict.is_hidden else "0"
        # What is hidden is needed in no version.
        record = b"" if verdict.is_hidden else codec.encode(truth)
        return (
            [keys.message(slot, truth.id), keys.index(slot, truth.user_id, truth.thread_id)],
            [seen, record, truth.id, gone, self._hot_seconds],
        )
