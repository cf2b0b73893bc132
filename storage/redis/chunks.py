"""The text of messages that comes in chunks: one string in Redis each, behind a line for its head.

The line begins like the message's record, so that a user's streams are found as messages are. Its
last letter is the state: `o` open, `l` chunks were lost, a capital where nothing may be added.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from models.message import MAX_CONTENT_BYTES, Message
from settings import Settings
from storage.redis import keys
from storage.redis.driver import Script
from storage.redis.messages import RedisTier

IDLE_AT_ONCE = 100


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    id: str
    thread_id: str
    user_id: str
    watermark: str
    state: str


class Streamed(NamedTuple):
    """The text of a message so far, and whose it is. `is_whole` is False where chunks that were
    acknowledged may be missing, because Redis lost them."""

    user_id: str
    text: str
    is_whole: bool


class Appended(NamedTuple):
    """What became of a chunk: `length` counts the bytes of UTF-8 that there are.

    `unknown`: Redis cannot tell what the message is, and the caller is to ask the other tiers.
    """

    outcome: Literal["appended", "mismatch", "long", "closed", "unknown"]
    length: int = 0
    version: int = 0


class OpenStreams:
    """The verbs over one door. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, redis: RedisTier, settings: Settings) -> None:
        door = self._door = redis.door
        self._redis = redis
        self._events_kept = settings.events_kept
        self._open = Script(door, "open_stream", waits_for_replicas=True)
        self._append = Script(door, "append_chunk", waits_for_replicas=True, emits_events=True)
        self._close = Script(door, "close_stream", waits_for_replicas=True)

    def open(self, message: Message, *, anew: bool = False) -> int:
        """Begins the stream of an open message with what it was stored with, unless there is one;
        gives how many bytes there are. `anew` says that chunks may have been lost."""
        slot = self._redis.slot_of_message(message.id)
        head = _Head(
            version=message.version,
            id=message.id,
            thread_id=message.thread_id,
            user_id=message.user_id,
            watermark=keys.watermark(slot, message.user_id, message.thread_id),
            state="l" if anew else "o",
        )
        line = msgspec.json.encode(head) + b"\n"
        return int(self._open(self._names(message.id), [line, message.content, message.id]))

    def append(
        self, user_id: str, message_id: str, text: str, offset: int | None, *, is_open: bool
    ) -> Appended:
        """Appends a chunk. `is_open` says that the tiers below have been looked at."""
        slot = self._redis.slot_of_message(message_id)
        names = [
            *self._names(message_id),
            keys.message(slot, message_id),
            keys.erased(slot, user_id),
            keys.events(user_id),
        ]
        arguments = [
            user_id,
            message_id,
            text,
            "" if offset is None else offset,
            MAX_CONTENT_BYTES,
            self._events_kept,
            "1" if is_open else "0",
        ]
        outcome, *figures = self._append(names, arguments)
        return Appended(outcome.decode(), *figures)

    def close(self, message_id: str, idle_seconds: float | None = None) -> Streamed | None:
        """Lets nothing more come, and gives what there is; None where there is no stream.

        With `idle_seconds` only where no chunk came for so long; None otherwise.
        """
        idle = "" if idle_seconds is None else int(idle_seconds * 1000)
        return _streamed(self._close(self._names(message_id), [message_id, idle]))

    def texts(self, message_ids: Sequence[str]) -> list[Streamed | None]:
        """What there is of each, in one round trip; None where there is no stream."""
        names = [self._names(message_id)[0] for message_id in message_ids]
        return list(map(_streamed, self._door.each(lambda pipe, name: pipe.get(name), names)))

    def drop(self, message_id: str) -> None:
        """Forgets a stream whose text is kept as a version, or not at all any more."""
        stream, streams = self._names(message_id)
        with self._door.guarded() as client:
            pipeline = client.pipeline()
            pipeline.unlink(stream)
            pipeline.zrem(streams, message_id)
            pipeline.execute()

    def idle(self, seconds: float) -> list[str]:
        """Messages to which no chunk came for so long, some of them."""
        now = self._door.ask(lambda client: client.time())
        until = now[0] * 1000 + now[1] // 1000 - int(seconds * 1000)
        idle = self._door.each(
            lambda pipeline, slot: pipeline.zrangebyscore(
                keys.streams(slot), "-inf", until, 0, IDLE_AT_ONCE
            ),
            range(self._redis.slots),
        )
        return [name.decode() for found in idle for name in found]

    def _names(self, message_id: str) -> list[str]:
        slot = self._redis.slot_of_message(message_id)
        return [keys.stream(slot, message_id), keys.streams(slot)]


def _streamed(stored: bytes | None) -> Streamed | None:
    if not stored:
        return None
    line, _, text = stored.partition(b"\n")
    head = msgspec.json.decode(line, type=_Head)
    return Streamed(head.user_id, text.decode(), head.state.lower() == "o")
