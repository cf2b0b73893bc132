"""Threads: created, changed, deleted and read.

Deleting sets a watermark, which hides every message at or below it at once; a message posted later
opens the thread again above it.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from models import ids
from models.message import CONFLICT_ATTEMPTS, Thread, ThreadSummary
from storage.availability.reading import Reading
from storage.errors import (
    AlreadyExists,
    Contended,
    NotFound,
    TierUnavailable,
    VersionConflict,
)
from storage.messages.failover_service import MessageFailoverService
from storage.threads.merging import KnownThread
from storage.threads.redis_view import NOTHING_HOT, HotThreads
from storage.threads.thread_cache_manager import ThreadCacheManager
from storage.tiers import Tiers

_BLANK: dict[str, Any] = {"title": None, "metadata": {}, "is_pinned": False, "is_archived": False}
"""A deleted thread's own data."""


class ThreadChange(NamedTuple):
    """A change as acknowledged, and the slot whose worker the caller is to wake, if any."""

    thread: ThreadSummary
    wake_slot: int | None


class ThreadService:
    """The verbs of threads."""

    def __init__(
        self, tiers: Tiers, failover: MessageFailoverService, lists: ThreadCacheManager
    ) -> None:
        self._redis = tiers.redis
        self._hot = HotThreads(tiers.redis)
        self._postgres = tiers.postgres
        self._clock = tiers.clock
        self._failover = failover
        self._lists = lists

    def create(
        self, user_id: str, thread_id: str | None, title: str | None, metadata: dict[str, Any]
    ) -> ThreadChange:
        """Acknowledges a new thread. Raises `AlreadyExists`, `TierUnavailable`."""
        now_us = self._clock.now_us()
        name = thread_id or ids.mint(now_us, 0)
        known = self._known(user_id, name, is_new=True)
        if known.is_live:
            raise AlreadyExists(name)
        moment = ids.timestamp(now_us)

        def make(version: int) -> Thread:
            return Thread(
                version=version,
                id=name,
                user_id=user_id,
                title=title,
                metadata=metadata,
                created_at=moment,
                updated_at=moment,
                deleted_through=known.deleted_through,
            )

        try:
            _, thread, wake = self._failover.put_thread(known.newest, make)
        except VersionConflict as error:
            raise AlreadyExists(name) from error
        return ThreadChange(thread.summary(), self._slot(user_id, name, wake))

    def get(self, user_id: str, thread_id: str) -> ThreadSummary:
        """One thread. Raises `NotFound`, `TierUnavailable`."""
        return self._lists.one(user_id, thread_id)

    def change(
        self,
        user_id: str,
        thread_id: str,
        *,
        title: str | msgspec.UnsetType | None,
        metadata: dict[str, Any] | msgspec.UnsetType,
        is_pinned: bool | msgspec.UnsetType = msgspec.UNSET,
        is_archived: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> ThreadChange:
        """Acknowledges what is given of a thread's own data; what is not stays.

        Raises `NotFound`, `TierUnavailable`.
        """
        fields = {
            "title": title,
            "metadata": metadata,
            "is_pinned": is_pinned,
            "is_archived": is_archived,
        }
        given = {name: new for name, new in fields.items() if new is not msgspec.UNSET}
        done = self._write(user_id, thread_id, given, delete=False)
        return done._replace(thread=self._with_figures(done.thread))

    def delete(self, user_id: str, thread_id: str) -> ThreadChange:
        """Acknowledges a deletion: the thread and all its messages are gone from reads.

        Raises `NotFound`, `TierUnavailable`.
        """
        return self._write(user_id, thread_id, _BLANK, delete=True)

    def _write(
        self, user_id: str, thread_id: str, fields: Mapping[str, Any], *, delete: bool
    ) -> ThreadChange:
        for _ in range(CONFLICT_ATTEMPTS):
            known = self._known(user_id, thread_id)
            if not known.is_live:
                raise NotFound
            now_us = self._clock.now_us()
            current, moment = known.own(now_us), ids.timestamp(now_us)
            mark = known.deleted_through
            if delete:
                shard = ids.shard_of(user_id, thread_id)
                mark = ids.mint(max(now_us, known.newest_us + 1), shard)
            changed = partial(
                _changed,
                current,
                **fields,
                updated_at=moment,
                deleted_at=moment if delete else None,
                deleted_through=mark,
            )
            try:
                _, thread, wake = self._failover.put_thread(current, changed)
            except VersionConflict:
                continue
            row = known.row
            summary = thread.summary(known.last_message_at, row.message_count if row else 0)
            return ThreadChange(summary, self._slot(user_id, thread_id, wake))
        raise Contended("redis", "too many writers of one thread")

    def _with_figures(self, changed: ThreadSummary) -> ThreadSummary:
        """A thread as it was changed, with what its messages say of it, if that can be told."""
        try:
            found = self._lists.one(changed.user_id, changed.id)
        except (NotFound, TierUnavailable):
            return changed
        return msgspec.structs.replace(
            changed,
            last_message_at=found.last_message_at,
            message_count=found.message_count,
            last_message_preview=found.last_message_preview,
        )

    def _known(self, user_id: str, thread_id: str, *, is_new: bool = False) -> KnownThread:
        """What the tiers that answer know. For a new thread it is enough that one does."""
        reading = Reading()
        hot = reading.ask("redis", lambda: self._hot.read(user_id, {thread_id: None}, ids.LOWEST))
        row = reading.ask("postgresql", lambda: self._postgres.thread(user_id, thread_id))
        known = KnownThread(user_id, thread_id, row, hot[thread_id] if hot else NOTHING_HOT)
        if known.newest is None and not known.is_live and len(reading.down) > is_new:
            # What the tiers that answer do not know may still exist.
            raise reading.failure()
        return known

    def _slot(self, user_id: str, thread_id: str, wake: bool) -> int | None:
        return self._redis.slot_of_thread(user_id, thread_id) if wake else None


def _changed(thread: Thread, version: int, **fields: Any) -> Thread:
    return msgspec.structs.replace(thread, version=version, **fields)
