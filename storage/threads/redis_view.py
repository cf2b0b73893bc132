"""What Redis has of threads whose writes are not committed yet."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models import codec, ids
from models.hot_page import DISTRUST_MARK
from models.message import Message, Thread
from storage.availability.hidden import is_there
from storage.redis import keys
from storage.redis.driver import Call, Script
from storage.redis.messages import RedisTier
from storage.resilience.bites import batches

THREADS_AT_ONCE = 200


class HotThread(NamedTuple):
    """A thread in Redis: its own data, what hides its messages, and what its index says.

    The index lists `listed` live messages from `base` on, where it is complete, and `uncommitted`
    above the newest that PostgreSQL knew. `record` is that of the newest message, if it is still in
    Redis.
    """

    thread: Thread | None
    floor: str | None
    watermark: str | None
    newest_id: str | None
    record: bytes | None
    base: str
    listed: int
    uncommitted: int
    erased: str | None

    @property
    def message(self) -> Message | None:
        """The newest message that is not deleted, if its record is still in Redis."""
        return codec.decode(self.record) if self.record else None

    def is_there(self, deleted_through: str) -> bool:
        """Whether Redis says that the thread is there, if it is deleted up to an id."""
        through = max(deleted_through, self.watermark or "", self.erased or "")
        floor = self.floor if self.is_whole else None
        return is_there(through, newest=self.newest_id, floor=floor)

    @property
    def is_whole(self) -> bool:
        """Whether the index is complete from its base on."""
        return self.floor is not None and not self.floor.startswith(DISTRUST_MARK)

    @property
    def opened_us(self) -> int | None:
        """When the first message known to Redis was made, in microseconds since 1970."""
        begins = self.floor or ""
        if ids.is_id(begins) and begins > max(self.watermark or "", self.erased or "", ids.LOWEST):
            return ids.time_us_of(begins)
        return ids.time_us_of(self.newest_id) if self.newest_id else None


NOTHING_HOT = HotThread(None, None, None, None, None, ids.LOWEST, 0, 0, None)
"""What is known where Redis was not asked."""


class HotThreads:
    """Reads threads from Redis, many in one round trip."""

    def __init__(self, redis: RedisTier) -> None:
        self._redis = redis
        self._script = Script(redis.door, "read_thread")

    def read(
        self, user_id: str, committed: Mapping[str, str | None], boundary: str
    ) -> dict[str, HotThread]:
        """What Redis has of a user's threads by id, each given with the time of the newest message
        that PostgreSQL knows. Raises `TierError`."""
        found: dict[str, HotThread] = {}
        for batch in batches(committed.items(), THREADS_AT_ONCE):
            answers = self._script.every(
                [self._call(user_id, name, last, boundary) for name, last in batch]
            )
            found |= {name: _hot_thread(one) for (name, _), one in zip(batch, answers, strict=True)}
        return found

    def waiting(self, user_id: str, names: Sequence[str]) -> list[str]:
        """Those of a user's threads that have writes in the log. Raises `TierError`."""
        if not names:
            return []
        with self._redis.door.guarded() as client:
            found: Any = client.hmget(keys.waiting_threads(user_id), list(names))
        return [name for name, entry in zip(names, found, strict=True) if entry]

    def _call(
        self, user_id: str, thread_id: str, last_message_at: str | None, boundary: str
    ) -> Call:
        slot = self._redis.slot_of_thread(user_id, thread_id)
        names = [
            keys.index(slot, user_id, thread_id),
            keys.thread(slot, user_id, thread_id),
            keys.watermark(slot, user_id, thread_id),
            keys.erased(slot, user_id),
        ]
        since = ids.LOWEST
        if last_message_at is not None:
            since = ids.highest_of(last_message_at, ids.shard_of(user_id, thread_id))
        return names, [keys.message_prefix(slot), boundary, since]


def _hot_thread(answer: Any) -> HotThread:
    floor, watermark, thread, newest_id, record, base, listed, uncommitted, erased = answer
    return HotThread(
        codec.decode_thread(thread) if thread else None,
        floor.decode() or None,
        watermark.decode() or None,
        newest_id.decode() or None,
        record or None,
        base.decode(),
        int(listed),
        int(uncommitted),
        erased.decode() or None,
    )
