"""The next version of a message, a thread or a state: compared with the hot copy and logged in one
step."""

from typing import Any, Literal, NamedTuple

from models import codec, ids
from models.events import EventType
from models.message import Message, Thread
from models.state import StateRecord
from settings import Settings
from storage.errors import NotFound, VersionConflict
from storage.redis import keys
from storage.redis.driver import RedisGateway, Script

DRAIN_FLAG_MILLISECONDS = 5_000
"""A wake-up that got lost is repeated after this, by the next write."""


class ErasedSince(NotFound):
    """Nothing was written: the record's user was erased up to a moment that is not over."""

    def __init__(self, through: str) -> None:
        super().__init__("the user was erased up to a later moment")
        self.through_us = ids.time_us_of(through)


class HotConflict(VersionConflict):
    """Redis has another version. `current` is empty where only messages make the thread, and
    `erased_through` the id up to which the user was erased, None if they never were."""

    def __init__(self, current: bytes, erased_through: bytes) -> None:
        super().__init__(current)
        self.erased_through = erased_through or None


class InThread(NamedTuple):
    """What a version changes beside its own copy, as `put.lua` takes it: its thread's event, the id
    that is no longer listed, and the watermark that it sets."""

    thread_id: str
    event: EventType
    unlisted: str = ""
    watermark: str = ""


class RecordWriter:
    """Writes versions of records over one door."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self._events_kept = settings.events_kept
        self._put = Script(door, "put", waits_for_replicas=True, emits_events=True)

    def put(
        self,
        kind: Literal["message", "thread", "state"],
        slot: int,
        key: str,
        record: Message | Thread | StateRecord,
        *,
        expected_version: int,
        born: str,
        thread: InThread | None = None,
    ) -> bool:
        """Acknowledges a version; gives whether to wake a worker.

        Raises `HotConflict`, and `ErasedSince` where its user was erased up to the id `born` or
        above. Nothing is written then.
        """
        names = [key, keys.pending(slot), keys.drain(slot), keys.erased(slot, record.user_id)]
        arguments: list[Any] = [
            kind,
            codec.encode(record),
            expected_version,
            DRAIN_FLAG_MILLISECONDS,
            born,
        ]
        if thread is not None:
            names += (
                keys.index(slot, record.user_id, thread.thread_id),
                keys.watermark(slot, record.user_id, thread.thread_id),
                *keys.of_listeners(record.user_id),
            )
            arguments += (self._events_kept, record.user_id, *thread)
        outcome, *found = self._put(names, arguments)
        if outcome == b"conflict":
            raise HotConflict(*found)
        if outcome == b"erased":
            raise ErasedSince(found[0].decode())
        return bool(found[0])
