"""Messages and threads in Redis: the first copy of each, and the hot page of a thread.

Errors leave as `TierUnavailable` or `TierRejected`. After `TierUnavailable` a write may or may not
have happened; repeating it with the same id is safe.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from models import codec, ids
from models.appends import Append, IdTooOld, Key, Stored
from models.hot_page import HotPage, PageArguments
from models.message import Message, Thread
from settings import Settings
from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import MOST_BYTES, Call, RedisGateway, Script
from storage.redis.records import DRAIN_FLAG_MILLISECONDS, InThread, RecordWriter
from storage.resilience.bites import batches, bites, read_within

NAMES_AT_ONCE = 100
"""Records of unknown size in one answer: a hundred messages have 8 MB at most."""

THREADS_AT_ONCE = 500
"""Of which watermarks are asked in one round trip."""


class RedisTier:
    """Reads and writes of messages and threads over one gateway."""

    def __init__(self, door: RedisGateway, settings: Settings) -> None:
        self.door = door
        self.client = door.client
        self.slots = settings.shards
        self._hot_seconds = settings.hot_seconds
        self._events_kept = settings.events_kept
        self._append = Script(door, "append", waits_for_replicas=True, emits_events=True)
        self._records = RecordWriter(door, settings)
        self._message = Script(door, "read_message")
        self._page = Script(door, "page")
        self._warm = Script(door, "warm")

    def slot_of_thread(self, user_id: str, thread_id: str) -> int:
        """The slot where a thread lives."""
        return ids.shard_of(user_id, thread_id) % self.slots

    def slot_of_message(self, message_id: str) -> int:
        """The slot where a message lives, which its id tells."""
        return ids.shard_in(message_id) % self.slots

    def append(
        self, appends: Sequence[Append], idempotency_seconds: int
    ) -> list[Stored | IdTooOld | TierError]:
        """Acknowledges new messages, in one round trip, each thread's all or none.

        What Redis refused for one thread stands in its place; the others are not touched by it.
        """
        calls = [self._append_call(append, idempotency_seconds) for append in appends]
        return list(map(_stored, self._append.many(calls)))

    def _append_call(self, append: Append, idempotency_seconds: int) -> tuple[list[str], list[Any]]:
        user_id, thread_id, messages = append[:3]
        slot = self.slot_of_thread(user_id, thread_id)
        names = [*keys.of_append(slot, user_id, thread_id)]
        names += [keys.message(slot, message.id) for message in messages]
        arguments: list[Any] = [
            len(messages),
            idempotency_seconds,
            DRAIN_FLAG_MILLISECONDS,
            self._events_kept,
            user_id,
            thread_id,
        ]
        for message in messages:
            position = 0
            if message.idempotency_key is not None:
                names.append(keys.idempotency(slot, user_id, thread_id, message.idempotency_key))
                position = len(names)
            key = message.idempotency_key or ""
            arguments += (message.id, message.record, position, key, message.instead_of)
        return names, arguments

    def revise(self, revised: Message, *, expected_version: int) -> bool:
        """Acknowledges the next version of a message; gives whether to wake a worker.

        Raises `VersionConflict` with the hot record where that is another version, and `NotFound`
        where its user was erased.
        """
        slot = self.slot_of_message(revised.id)
        change = (
            InThread(revised.thread_id, "message_deleted", unlisted=revised.id)
            if revised.deleted_at
            else InThread(revised.thread_id, "message_updated")
        )
        return self._records.put(
            "message",
            slot,
            keys.message(slot, revised.id),
            revised,
            expected_version=expected_version,
            born=revised.id,
            thread=change,
        )

    def put_thread(self, thread: Thread, *, expected_version: int) -> bool:
        """Acknowledges a version of a thread's own data; gives whether to wake a worker.

        Raises `VersionConflict` with the hot record, or with nothing where only messages exist, and
        `NotFound` where its user was erased after its creation.
        """
        slot = self.slot_of_thread(thread.user_id, thread.id)
        watermark = thread.deleted_through if thread.deleted_at else None
        return self._records.put(
            "thread",
            slot,
            keys.thread(slot, thread.user_id, thread.id),
            thread,
            expected_version=expected_version,
            born=ids.lowest(thread.created_at),
            thread=InThread(thread.id, "thread_updated", watermark=watermark or ""),
        )

    def message(self, message_id: str) -> bytes | None:
        """The hot record of a message."""
        with self.door.guarded() as client:
            value: Any = client.get(keys.message(self.slot_of_message(message_id), message_id))
        return value if value is None else bytes(value)

    def message_of(self, user_id: str, message_id: str) -> tuple[bytes | None, str | None]:
        """The hot record of a message, and the id up to which messages of its thread are gone, if
        the thread is this user's."""
        return self.messages_of([(user_id, message_id)])[0]

    def messages_of(
        self, asked: Sequence[tuple[str, str]]
    ) -> list[tuple[bytes | None, str | None]]:
        """Likewise of many, each given as the user who asks and the message, in one round trip."""
        calls: list[Call] = []
        for user_id, message_id in asked:
            slot = self.slot_of_message(message_id)
            names = [keys.message(slot, message_id), keys.erased(slot, user_id)]
            calls.append((names, [keys.threads_prefix(slot, user_id)]))
        found: list[tuple[bytes | None, str | None]] = []
        for (user_id, _), (record, *marks) in zip(asked, self._message.every(calls), strict=True):
            if record and not marks:
                # No script reads a name that is escaped.
                mark = self.thread(user_id, codec.decode(record).thread_id)[1]
            else:
                mark = marks[0].decode() if marks and marks[0] else None
            found.append((record or None, mark))
        return found

    def is_evictable(self, message_id: str) -> bool:
        """Whether the hot copy has a TTL, because it is persisted."""
        with self.door.guarded() as client:
            left: Any = client.ttl(keys.message(self.slot_of_message(message_id), message_id))
        return int(left) != -1

    def is_waiting(self, user_id: str, thread_id: str) -> bool:
        """Whether the log has anything of a thread."""
        with self.door.guarded() as client:
            return bool(client.hexists(keys.waiting_threads(user_id), thread_id))

    def messages(self, slot: int, message_ids: Sequence[str]) -> list[bytes | None]:
        """The hot records of messages of one slot, None where there is none.

        That many of them come late is no outage: they may be 8 MB.
        """
        found: list[bytes | None] = []
        for names in batches(message_ids, NAMES_AT_ONCE):
            with self.door.guarded(is_bulk=len(names) == NAMES_AT_ONCE) as client:
                records: Any = client.mget(_keys_of(slot, names))
            found += records
        return found

    def made(self, given: Sequence[Key]) -> dict[Key, str]:
        """The ids of the messages that Idempotency-Keys have made, for keys that Redis knows."""
        if not given:
            return {}
        slots = [self.slot_of_thread(key.user_id, key.thread_id) for key in given]
        names = [keys.idempotency(slot, *key) for slot, key in zip(slots, given, strict=True)]
        found = self.door.each(lambda pipeline, name: pipeline.get(name), names)
        return {key: made.decode() for key, made in zip(given, found, strict=True) if made}

    def thread(self, user_id: str, thread_id: str) -> tuple[bytes | None, str | None]:
        """The hot record of a thread and its watermark, or its user's where that is higher."""
        slot = self.slot_of_thread(user_id, thread_id)
        wanted = (keys.thread(slot, user_id, thread_id), *keys.hiding(slot, user_id, thread_id))
        with self.door.guarded() as client:
            found: Any = client.mget(wanted)
        return found[0], max((mark.decode() for mark in found[1:] if mark), default=None)

    def watermarks(
        self, threads: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, str]]:
        """What hides messages of threads, each given as its user and its name: the ids up to which
        it is deleted and its user erased, the lowest id where they are not."""
        found: dict[tuple[str, str], tuple[str, str]] = {}
        for batch in batches(sorted(set(threads)), THREADS_AT_ONCE):
            hiding = [keys.hiding(self.slot_of_thread(*thread), *thread) for thread in batch]
            answers = self.door.each(lambda pipeline, names: pipeline.mget(names), hiding)
            for thread, marks in zip(batch, answers, strict=True):
                deleted, erased = (mark.decode() if mark else ids.LOWEST for mark in marks)
                found[thread] = deleted, erased
        return found

    def page(
        self,
        user_id: str,
        thread_id: str,
        low: str,
        high: str,
        order: str,
        count: int,
        most_bytes: float = math.inf,
    ) -> HotPage:
        """Records of a thread with `low` < id < `high`, at most `count` from that end, and no more
        once there are over `most_bytes`."""
        ((page, names),) = self._indexed([(user_id, thread_id, low, high, order, count)])
        slot = self.slot_of_thread(user_id, thread_id)
        found, is_cut = read_within(names, partial(self.messages, slot), most_bytes)
        records = list(zip(names, found, strict=False))
        return page._replace(records=records, is_cut=is_cut)

    def pages(self, asked: Sequence[PageArguments]) -> list[HotPage]:
        """Likewise pages of several threads, each of about `NAMES_AT_ONCE` records at most, in two
        round trips."""
        indexed = self._indexed(asked)
        wanted = [
            ("MGET", *_keys_of(self.slot_of_thread(*one[:2]), names))
            for one, (_, names) in zip(asked, indexed, strict=True)
            if names
        ]
        found = iter(self.door.every(wanted) if wanted else ())
        return [
            page._replace(records=list(zip(names, next(found), strict=True))) if names else page
            for page, names in indexed
        ]

    def _indexed(self, asked: Sequence[PageArguments]) -> list[tuple[HotPage, list[str]]]:
        """Pages without their records, and the ids of these. Read after that, a record shows what
        an edit or a deletion did meanwhile; of a new message nothing is shown."""
        calls: list[Call] = []
        for user_id, thread_id, low, high, order, count in asked:
            slot = self.slot_of_thread(user_id, thread_id)
            names = [keys.index(slot, user_id, thread_id), *keys.hiding(slot, user_id, thread_id)]
            calls.append((names, [f"({low}", f"({high}", order, count]))
        return [
            (
                HotPage(floor.decode() or None, mark.decode() or None, []),
                [*map(bytes.decode, found)],
            )
            for floor, mark, found in self._page.every(calls)
        ]

    def warm(
        self,
        user_id: str,
        thread_id: str,
        records: Sequence[tuple[str, bytes]],
        *,
        seen_floor: str | None,
        floor: str,
    ) -> bool:
        """Adds persisted messages, newest first, to the hot page, unless its floor has moved since
        it was read; gives whether all of them were added."""
        slot = self.slot_of_thread(user_id, thread_id)
        parts = [part for part, _ in bites(records, [len(one[1]) for one in records], MOST_BYTES)]
        for at, part in enumerate(parts or [records]):
            names = [keys.index(slot, user_id, thread_id), *keys.hiding(slot, user_id, thread_id)]
            down_to = part[-1][0] if at + 1 < len(parts) else floor
            arguments: list[Any] = [seen_floor or "", down_to, self._hot_seconds]
            for message_id, record in part:
                names.append(keys.message(slot, message_id))
                arguments += (message_id, record)
            if not self._warm(names, arguments):
                return False
            seen_floor = down_to
        return True

    def ping(self) -> None:
        """Raises `TierUnavailable` if Redis does not answer."""
        with self.door.guarded() as client:
            client.ping()


def _keys_of(slot: int, message_ids: Sequence[str]) -> list[str]:
    prefix = keys.message_prefix(slot)
    return [prefix + message_id for message_id in message_ids]


def _stored(answer: Any) -> Stored | IdTooOld | TierError:
    if isinstance(answer, TierError):
        return answer
    if answer[0] == b"behind":
        return IdTooOld(answer[1].decode())
    return Stored([made.decode() for made in answer[2:]], answer[1] == 1)
