"""Corrects what Redis holds after writes that bypassed it, or erasures in the tiers below."""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from models import codec
from models.appends import Key
from models.events import EventType
from models.hot_page import DISTRUST_MARK
from models.message import Message, Thread
from settings import Settings
from storage.redis import keys
from storage.redis.driver import Call, Script
from storage.redis.messages import RedisTier
from storage.resilience.bites import batches

DISTRUST_SECONDS = 60
"""Longer than any reader takes from its read of an index to warming it."""

KEYS_AT_ONCE = 500

_NO_NEWS: Mapping[str, Sequence[EventType]] = MappingProxyType({})


class RedisRepair:
    """Corrects hot copies, indexes and cached lists. Nothing here acknowledges a write."""

    def __init__(self, redis: RedisTier, settings: Settings) -> None:
        door = self._door = redis.door
        self._redis = redis
        self._settings = settings
        self._invalidate = Script(door, "invalidate")
        self._refresh = Script(door, "refresh", emits_events=True)
        self._evict = Script(door, "evict")
        self._store_key = Script(door, "store_key")

    def invalidate_indexes(self, threads: Iterable[tuple[str, str]]) -> None:
        """Marks the indexes of threads as incomplete, and drops their users' cached lists."""
        named = list(threads)
        self.invalidate_index_keys(
            keys.index(self._redis.slot_of_thread(*thread), *thread) for thread in named
        )
        self.invalidate_thread_lists({user_id for user_id, _ in named})

    def invalidate_thread_lists(self, users: Collection[str]) -> None:
        """Drops users' cached lists of threads."""
        if users:
            self.invalidate_list_keys(keys.thread_pages(user_id) for user_id in users)

    def invalidate_list_keys(self, names: Iterable[str]) -> None:
        """Likewise, by the keys of the lists."""
        self._door.each(lambda pipeline, name: pipeline.hdel(name, "generation"), names)

    def invalidate_index_keys(self, names: Iterable[str]) -> None:
        """Likewise, by the keys of the indexes."""
        self._invalidate.every([([name], [distrust_floor(), DISTRUST_SECONDS]) for name in names])

    def refresh(
        self, messages: Sequence[Message], news: Mapping[str, Sequence[EventType]] = _NO_NEWS
    ) -> None:
        """Replaces the copies that Redis has where these committed versions are newer. `news` are
        the late events of a message, by its id."""
        self._refresh.every(
            [self._refresh_call(message, news.get(message.id, ())) for message in messages]
        )

    def refresh_thread(self, thread: Thread, *, is_news: bool = False) -> None:
        """Likewise a thread's own data, with a late event if it is news."""
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
        """Stores Idempotency-Keys that PostgreSQL knows, except where Redis has a later message."""
        for batch in batches(made.items(), KEYS_AT_ONCE):
            self._store_key.every(
                [([self._name_of(key)], [message_id, seconds]) for key, message_id in batch]
            )

    def _name_of(self, key: Key) -> str:
        slot = self._redis.slot_of_thread(key.user_id, key.thread_id)
        return keys.idempotency(slot, *key)

    def evict_committed(self, names: Sequence[str]) -> None:
        """Deletes those of these keys that may be evicted: PostgreSQL has what they hold."""
        self._evict.every([([name], []) for name in names])

    def evict(self, message_ids: Sequence[str]) -> None:
        """Deletes the hot copies and streams of messages that were erased below."""
        if not message_ids:
            return
        slots = [(self._redis.slot_of_message(name), name) for name in message_ids]
        names = [make(*one) for one in slots for make in (keys.message, keys.stream)]
        self._door.each(lambda pipeline, name: pipeline.delete(name), names)


def distrust_floor() -> str:
    """A floor above every id, never the same twice."""
    return DISTRUST_MARK + secrets.token_hex(8)
