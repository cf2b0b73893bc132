"""Admission control for what Redis must keep, the pending log and the texts of open streams: writes
go to PostgreSQL before that fills Redis.

Only what is persisted may be evicted, so a Redis that may evict anything is taken for one that is
down.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

import structlog

from settings import Settings
from storage.errors import TierError, TierUnavailable
from storage.redis import keys
from storage.redis.driver import RedisGateway

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 1.0
UNSAFE_POLICIES = "allkeys-"
COPIES = 2
"""What is pending stands in the log and under its own key."""
SAMPLES = 8
"""Streams of a slot whose length is taken for that of all of them."""


class LogQuota:
    """What share of Redis's memory the log, what it speaks of and open streams take up."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self._door = door
        self._slots = settings.shards
        self._log_share = settings.redis_log_share
        self._measuring = threading.Lock()
        self._measured_at = float("-inf")
        self._is_full = False

    def admit(self) -> None:
        """Raises `TierUnavailable` where they take more than the log's share."""
        if time.monotonic() - self._measured_at > MEASURE_SECONDS:
            self._refresh()
        if self._is_full:
            reason = f"its log takes over {self._log_share:.0%} of its memory"
            raise TierUnavailable("redis", reason, passing=True, tried=False)

    def share(self) -> float:
        """The share at this moment; 0 where Redis has no limit. Raises `TierError`."""
        return self._measure()[1]

    def _measure(self) -> tuple[dict[str, Any], float]:
        with self._door.guarded() as client:
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.info("memory")
            for slot in range(self._slots):
                pipeline.memory_usage(keys.pending(slot))
                pipeline.zcard(keys.streams(slot))
            memory, *sizes = pipeline.execute()
        limit = int(memory.get("maxmemory", 0))
        if not limit:
            return memory, 0.0
        taken = COPIES * sum(size or 0 for size in sizes[::2])
        open_streams = {slot: count for slot, count in enumerate(sizes[1::2]) if count}
        return memory, (taken + self._streamed(open_streams)) / limit

    def _streamed(self, open_streams: Mapping[int, int]) -> float:
        """About how many bytes the streams of some slots take, given how many each has."""
        if not open_streams:
            return 0.0
        chosen = self._door.each(
            lambda pipeline, slot: pipeline.zrandmember(keys.streams(slot), SAMPLES), open_streams
        )
        named = [
            keys.stream(slot, name.decode())
            for slot, names in zip(open_streams, chosen, strict=True)
            for name in names
        ]
        lengths: list[int] = self._door.each(lambda pipeline, name: pipeline.strlen(name), named)
        return sum(open_streams.values()) * sum(lengths) / max(1, len(lengths))

    def _refresh(self) -> None:
        if not self._measuring.acquire(blocking=False):
            return
        try:
            memory, share = self._measure()
            policy = str(memory.get("maxmemory_policy", ""))
            if policy.startswith(UNSAFE_POLICIES):
                self._door.breaker.open(f"{policy} may evict what is nowhere else yet")
            is_full = share > self._log_share
            if is_full != self._is_full:
                log.warning("redis_log_full" if is_full else "redis_log_has_room")
            self._is_full = is_full
        except TierError:
            # The write that follows finds out for itself.
            pass
        finally:
            self._measured_at = time.monotonic()
            self._measuring.release()
