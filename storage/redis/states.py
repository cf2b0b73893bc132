"""States in Redis: the first copy of every version. It has no TTL until its row is committed."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models import codec, ids
from models.state import StateName, StateRecord
from settings import Settings
from storage.errors import TierUnavailable, VersionConflict
from storage.redis import keys
from storage.redis.driver import Call, RedisGateway, Script
from storage.redis.records import HotConflict, RecordWriter


class RedisMemory(NamedTuple):
    """Bytes in use and allowed (0 for no limit), and the share of reads that found their key;
    None before the first."""

    used_bytes: int
    limit_bytes: int
    evicted_keys: int
    hit_ratio: float | None


class StateCacheManager:
    """Reads and writes of states over one gateway."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self._door = door
        self._slots = settings.shards
        self._hot_seconds = settings.hot_seconds
        self._records = RecordWriter(door, settings)
        self._cache = Script(door, "cache_state")

    def slot_of(self, whose: StateName) -> int:
        """The slot where a state lives."""
        return ids.shard_of(whose.user_id, whose.name) % self._slots

    def save_primary_state(self, record: StateRecord, *, expected_version: int) -> bool:
        """Acknowledges a version, fsynced; gives whether to wake a worker.

        Raises `VersionConflict` with the hot record where that is another version than the one it
        rests on, `ErasedSince`, and `TierError`.
        """
        slot = self.slot_of(record.whose)
        try:
            return self._records.put(
                "state",
                slot,
                self._key(record.whose),
                record,
                expected_version=expected_version,
                born=ids.lowest(record.updated_at),
            )
        except HotConflict as conflict:
            seen = _seen(conflict.current, conflict.erased_through)
            raise VersionConflict(codec.encode(seen)) from None

    def load_primary_state(self, whose: StateName) -> StateRecord | None:
        """The hot version, or a tombstone, also where its user was erased since; None for none."""
        names = [self._key(whose), keys.erased(self.slot_of(whose), whose.user_id)]
        found = self._door.ask(lambda client: client.mget(names))
        return None if found[0] is None else _seen(found[0], found[1])

    def cache_state_in_redis(self, record: StateRecord, ttl_seconds: int | None = None) -> bool:
        """Stores a committed version where Redis has none or an older one; gives whether it did.

        It stays until it expires, unless another time is given.
        """
        return self.cache_states_in_redis([record], ttl_seconds) > 0

    def cache_states_in_redis(
        self, records: Sequence[StateRecord], ttl_seconds: int | None = None
    ) -> int:
        """Likewise of many, in one round trip; gives how many were stored."""
        return sum(self._cache.every([self._cache_call(one, ttl_seconds) for one in records]))

    def _cache_call(self, record: StateRecord, ttl_seconds: int | None) -> Call:
        seconds = ttl_seconds or seconds_to_stay(record.expires_at, self._hot_seconds)
        return (
            [self._key(record.whose), keys.erased(self.slot_of(record.whose), record.user_id)],
            [codec.encode(record), record.version, seconds, ids.lowest(record.updated_at)],
        )

    def get_redis_memory_stats(self) -> RedisMemory:
        """How much memory Redis uses, and how often reads find their key."""
        with self._door.guarded() as client:
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.info("memory")
            pipeline.info("stats")
            memory, stats = pipeline.execute()
        hits, misses = int(stats["keyspace_hits"]), int(stats["keyspace_misses"])
        return RedisMemory(
            used_bytes=int(memory["used_memory"]),
            limit_bytes=int(memory.get("maxmemory", 0)),
            evicted_keys=int(stats["evicted_keys"]),
            hit_ratio=round(hits / (hits + misses), 4) if hits + misses else None,
        )

    def validate_connection(self) -> bool:
        """Whether Redis answers this process."""
        try:
            return bool(self._door.ask(lambda client: client.ping()))
        except TierUnavailable:
            return False

    def _key(self, whose: StateName) -> str:
        return keys.state(self.slot_of(whose), whose.user_id, whose.name)


def _seen(hot: bytes, mark: bytes | None) -> StateRecord:
    """A hot record, or its tombstone where its user was erased since."""
    record = codec.decode_state(hot)
    erased = mark.decode() if mark else ids.LOWEST
    return record.buried() if erased >= ids.lowest(record.updated_at) else record


GRACE_SECONDS = 60
"""An expired state stays hidden for so long, so that a write over the version before it still
conflicts."""


def seconds_to_stay(expires_at: str | None, hot_seconds: int) -> int:
    """The TTL of a copy: until it expires, else `hot_seconds`."""
    if expires_at is None:
        return hot_seconds
    left = datetime.fromisoformat(expires_at).timestamp() - time.time()
    return max(0, int(left)) + GRACE_SECONDS
