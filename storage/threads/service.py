"""Threads: created, changed, deleted and read; the same road as messages take.

A thread's own data is a versioned record in Redis, logged, drained and upserted. Deleting sets a
watermark: every message at or below it is gone from reads at once, in every tier, and erased
behind. A message posted later opens the thread anew above it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.ids import Clock
from models.message import Thread, ThreadSummary
from models.versions import CONFLICT_ATTEMPTS
from storage.availability.hidden import is_there
from storage.errors import (
    AlreadyExists,
    Contended,
    NotFound,
    NoTierAvailable,
    TierUnavailable,
    VersionConflict,
)
from storage.messages.failover_service import MessageFailoverService
from storage.postgres.reads import PostgresTier, ThreadRow
from storage.redis.messages import HotPage, RedisTier
from storage.threads.thread_cache_manager import ThreadCacheManager


class ThreadChange(NamedTuple):
    """A change as acknowledged, and the slot whose worker this caller is to wake."""

    thread: ThreadSummary
    wake_slot: int | None


class _Known(NamedTuple):
    """What is known of a thread: its newest own data, if any, and its live extent in Redis."""

    thread: Thread | None
    row: ThreadRow | None
    watermark: str | None
    newest_id: str | None
    has_index: bool

    @property
    def newest_us(self) -> int:
        """The time of the newest message that is known of, 0 if none is."""
        hot_us = ids.time_us_of(self.newest_id) if self.newest_id else 0
        last = self.row.last_message_at if self.row else None
        return max(hot_us, ids.time_us(datetime.fromisoformat(last)) if last else 0)

    @property
    def is_live(self) -> bool:
        # An index outlives its last message; only deleting the thread takes it away.
        live = self.thread is not None and self.thread.deleted_at is None
        return live or self.has_index


class ThreadService:
    """The verbs of threads."""

    def __init__(
        self,
        redis: RedisTier,
        postgres: PostgresTier,
        failover: MessageFailoverService,
        lists: ThreadCacheManager,
        clock: Clock,
    ) -> None:
        self._lists = lists
        self._redis = redis
        self._postgres = postgres
        self._failover = failover
        self._clock = clock

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
                deleted_through=known.watermark,
            )

        try:
            _, thread, wake = self._failover.put_thread(known.thread, make)
        except VersionConflict as error:
            raise AlreadyExists(name) from error
        return ThreadChange(_summary(thread, None, None), self._slot(user_id, name, wake))

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

        def change(thread: Thread) -> Thread:
            return msgspec.structs.replace(thread, **given)

        done = self._write(user_id, thread_id, change, delete=False)
        return done._replace(thread=self._with_figures(done.thread))

    def delete(self, user_id: str, thread_id: str) -> ThreadChange:
        """Acknowledges a deletion: the thread and all its messages are gone from reads.

        Raises `NotFound`, `TierUnavailable`.
        """

        def bury(thread: Thread) -> Thread:
            return msgspec.structs.replace(
                thread, title=None, metadata={}, is_pinned=False, is_archived=False
            )

        return self._write(user_id, thread_id, bury, delete=True)

    def _write(
        self, user_id: str, thread_id: str, change: Callable[[Thread], Thread], *, delete: bool
    ) -> ThreadChange:
        for _ in range(CONFLICT_ATTEMPTS):
            known = self._known(user_id, thread_id)
            if not known.is_live:
                raise NotFound
            current = self._own(user_id, thread_id, known)
            now_us = self._clock.now_us()
            newest_us = known.newest_us
            shard = ids.shard_of(user_id, thread_id)
            mark = ids.mint(max(now_us, newest_us + 1), shard) if delete else known.watermark
            moment = ids.timestamp(now_us)

            def make(
                version: int,
                current: Thread = current,
                mark: str | None = mark,
                moment: str = moment,
            ) -> Thread:
                return msgspec.structs.replace(
                    change(current),
                    version=version,
                    updated_at=moment,
                    deleted_at=moment if delete else None,
                    deleted_through=mark,
                )

            try:
                _, thread, wake = self._failover.put_thread(current, make)
            except VersionConflict:
                continue
            summary = _summary(thread, known.row, known.newest_id)
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

    def _known(self, user_id: str, thread_id: str, *, is_new: bool = False) -> _Known:
        """What the tiers that answer know. For a new thread it is enough that one does."""
        failures = []
        hot, watermark, page = None, None, HotPage(None, None, [])
        try:
            record, watermark = self._redis.thread(user_id, thread_id)
            hot = codec.decode_thread(record) if record else None
            low = watermark or ids.LOWEST
            page = self._redis.page(user_id, thread_id, low, ids.HIGHEST, "desc", 1)
        except TierUnavailable as error:
            failures.append(error)
        row = None
        try:
            row = self._postgres.thread(user_id, thread_id)
        except TierUnavailable as error:
            failures.append(error)
        mark = max(
            filter(None, (watermark, row.thread.deleted_through if row else None)), default=None
        )
        newest_id = next((name for name, _ in page.records if name > (mark or "")), None)
        floor = None if page.is_distrusted else page.floor
        has_index = is_there(mark or "", newest=newest_id, floor=floor)
        is_unknown = hot is None and row is None and not has_index
        if is_unknown and len(failures) > is_new:
            # What the tiers that answer do not know may still exist.
            raise NoTierAvailable(failures)
        versions = [thread for thread in (hot, row.thread if row else None) if thread]
        thread = max(versions, key=lambda one: (one.version, one.deleted_at is None), default=None)
        return _Known(thread, row, mark, newest_id, has_index)

    def _own(self, user_id: str, thread_id: str, known: _Known) -> Thread:
        """The thread's own data; for one that only messages have made so far, what they say."""
        if known.thread is not None and known.thread.deleted_at is None:
            return known.thread
        opened_us = ids.time_us_of(known.newest_id) if known.newest_id else self._clock.now_us()
        moment = ids.timestamp(opened_us)
        return Thread(
            version=known.thread.version if known.thread else 1,
            id=thread_id,
            user_id=user_id,
            title=None,
            metadata={},
            created_at=moment,
            updated_at=moment,
            deleted_through=known.watermark,
        )

    def _slot(self, user_id: str, thread_id: str, wake: bool) -> int | None:
        return self._redis.slot_of_thread(user_id, thread_id) if wake else None


def _summary(thread: Thread, row: ThreadRow | None, newest_id: str | None) -> ThreadSummary:
    newest = ids.timestamp(ids.time_us_of(newest_id)) if newest_id else None
    last = max(filter(None, (newest, row.last_message_at if row else None)), default=None)
    return ThreadSummary(
        id=thread.id,
        user_id=thread.user_id,
        title=thread.title,
        metadata=thread.metadata,
        created_at=thread.created_at,
        last_message_at=last,
        message_count=row.message_count if row else 0,
        last_message_preview=None,
        is_pinned=thread.is_pinned,
        is_archived=thread.is_archived,
    )
