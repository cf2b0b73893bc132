"""Keeps what Redis holds right when something was written beside it, or erased below it."""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from models import codec
from models.appends import Key
from models.events import EventType
from models.message import Message, Thread
from settings import Settings
from storage.redis import keys
from storage.redis.driver import Call, RedisGateway, Script
from storage.redis.messages import DISTRUST_MARK, RedisTier
from storage.resilience.bites import batches

DISTRUST_SECONDS = 60
"""Longer than any reader takes from looking into Redis to warming it."""

KEYS_AT_ONCE = 500

_NO_NEWS: Mapping[str, Sequence[EventType]] = MappingProxyType({})


class RedisRepair:
    """The verbs that correct hot copies and indexes. Nothing here acknowledges anything."""

    def __init__(self, door: RedisGateway, redis: RedisTier, settings: Settings) -> None:
        self._door = door
        self._redis = redis
        self._settings = settings
        self._invalidate = Script(door, "invalidate")
        self._refresh = Script(door, "refresh", emits_events=True)
        self._evict = Script(door, "evict")
        self._teach_key = Script(door, "teach_key")

    def invalidate_indexes(self, threads: Iterable[tuple[str, str]]) -> None:
        """Says of threads' indexes, and of lists of threads, that messages came in beside Redis."""
        named = list(threads)
        self.distrust_indexes(
            keys.index(self._redis.slot_of_thread(*thread), *thread) for thread in named
        )
        self.invalidate_thread_lists({user_id for user_id, _ in named})

    def invalidate_thread_lists(self, users: Collection[str]) -> None:
        """Says of users' lists of threads that they no longer hold."""
        if users:
            self.outdate_lists(keys.thread_pages(user_id) for user_id in users)

    def outdate_lists(self, names: Iterable[str]) -> None:
        """Likewise, by the keys of the lists."""
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.hdel(name, "generation")
            pipeline.execute()

    def distrust_indexes(self, names: Iterable[str]) -> None:
        """Likewise, by the keys of the indexes."""
        self._invalidate.every([([name], [distrust_floor(), DISTRUST_SECONDS]) for name in names])

    def refresh(
        self, messages: Sequence[Message], news: Mapping[str, Sequence[EventType]] = _NO_NEWS
    ) -> None:
        """Takes versions committed beside Redis into the copies that Redis has, where newer.

        `news` is what of a message those who listen to its user are to be told late, by its id.
        """
        self._refresh.every(
            [self._refresh_call(message, news.get(message.id, ())) for message in messages]
        )

    def refresh_thread(self, thread: Thread, *, is_news: bool = False) -> None:
        """Likewise a thread's own data; if it is news those who listen to its user are told."""
        self._refresh.every([self._refresh_call(thread, ("thread_updated",) if is_news else ())])

    def _refresh_call(self, record: Message | Thread, news: Sequence[EventType]) -> Call:
        user_id = record.user_id
        if isinstance(record, Message):
            slot = self._redis.slot_of_message(record.id)
            key = keys.message(slot, record.id)
            thread_id, message_id, watermark = record.thread_id, record.id, ""
        else:
            slot = self._redis.slot_of_thread(user_id, record.id)
            key = keys.thread(slot, user_id, record.id)
            thread_id, message_id, watermark = record.id, "", record.deleted_through or ""
        names = [
            key,
            keys.index(slot, user_id, thread_id),
            keys.watermark(slot, user_id, thread_id),
            keys.events(user_id),
            keys.thread_pages(user_id),
            keys.told(slot, record.id, record.version),
        ]
        arguments: list[Any] = [
            codec.encode(record),
            record.version,
            self._settings.hot_seconds,
            message_id if record.deleted_at else "",
            watermark,
            self._settings.events_kept,
            user_id,
            thread_id,
            message_id,
            self._settings.events_seconds,
            *news,
        ]
        return names, arguments

    def store_keys(self, made: Mapping[Key, str], seconds: int) -> None:
        """Has Redis know Idempotency-Keys that PostgreSQL knows, but for those with which it has
        made later messages."""
        for batch in batches(made.items(), KEYS_AT_ONCE):
            self._teach_key.every(
                [([self._name_of(key)], [message_id, seconds]) for key, message_id in batch]
            )

    def _name_of(self, key: Key) -> str:
        slot = self._redis.slot_of_thread(key.user_id, key.thread_id)
        return keys.idempotency(slot, *key)

    def drop_committed(self, names: Sequence[str]) -> None:
        """Drops those of these keys that may be evicted: what they hold is in PostgreSQL."""
        self._evict.every([([name], []) for name in names])

    def forget(self, message_ids: Sequence[str]) -> None:
        """Drops the hot copies of messages that were erased below."""
        if not message_ids:
            return
        slots = [(self._redis.slot_of_message(name), name) for name in message_ids]
        names = [make(*one) for one in slots for make in (keys.message, keys.stream)]
        with self._door.guarded() as client:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.delete(name)
            pipeline.execute()


def distrust_floor() -> str:
    """A floor above every id, never the same twice."""
    return DISTRUST_MARK + secrets.token_hex(8)
