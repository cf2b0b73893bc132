"""The right copies into Redis, and no index that claims more than it lists."""

import hashlib
from collections.abc import Sequence
from typing import Any

from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Difference
from models import codec
from storage.redis import keys
from storage.redis.driver import Script
from storage.resilience.bites import batches
from storage.tiers import Tiers

BATCH = 200


def put(tiers: Tiers, verdicts: Sequence[CopyVerdict]) -> None:
    """Puts what is right in the place of copies that are still what was read; whatever was written
    since stays. Raises `TierError`."""
    correct = Script(tiers.redis_door, "replace_damaged")
    calls = (call for one in verdicts if (call := _call(tiers, one)) is not None)
    for batch in batches(calls, BATCH):
        correct.many(batch)


def relist(tiers: Tiers, differences: Sequence[Difference]) -> None:
    """Has indexes claim nothing, so that they are read anew from below; entries of what is nowhere
    leave them. Raises `TierError`."""
    tiers.redis_repair.invalidate_indexes(sorted({one.thread for one in differences}))
    entries = [
        (keys.index(tiers.redis.slot_of_thread(*one.thread), *one.thread), one.id)
        for one in differences
        if one.kind == "phantom"
    ]
    tiers.redis_door.each(lambda pipeline, entry: pipeline.zrem(*entry), entries)


def _call(tiers: Tiers, verdict: CopyVerdict) -> tuple[list[str], list[Any]] | None:
    truth, hot = verdict.truth, verdict.copies.hot
    if truth is None or hot is None:
        return None
    slot = tiers.redis.slot_of_message(truth.id)
    seen = hashlib.sha1(hot.record, usedforsecurity=False).hexdigest()
    gone = "1" if truth.deleted_at or verdict.is_hidden else "0"
    # What is hidden is needed in no version.
    record = b"" if verdict.is_hidden else codec.encode(truth)
    return (
        [keys.message(slot, truth.id), keys.index(slot, truth.user_id, truth.thread_id)],
        [seen, record, truth.id, gone, tiers.settings.hot_seconds],
    )
