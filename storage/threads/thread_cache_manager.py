"""The list of a user's threads: from Redis while its page there holds, else read anew."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

import structlog

from models.caveats import warning_of
from models.message import ThreadSummary
from storage.availability.lease import Lease
from storage.errors import NotFound, NoTierAvailable, TierError, TierUnavailable
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.resilience import budget
from storage.threads.list_reader import ListReader, ListSources
from storage.threads.page import FIRST_PAGE, StoredPage, ThreadList, ThreadQuery, written
from storage.threads.page_cache import ACTIVE_SECONDS, CachedPages, ThreadPages
from storage.threads.redis_view import HotThreads
from storage.threads.rows import ThreadRows
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

MOST_WARMED = 500
"""Users of one run."""

TURNS = 64
TURN_SECONDS = 1.0
"""The longest wait for another who reads the same list, longer than PostgreSQL may take: then both
read it."""


class UnstoredList(NamedTuple):
    """A list, and what stores its page in Redis, if it is to be stored."""

    listed: ThreadList
    store: Callable[[], None] | None = None

    def stored(self) -> ThreadList:
        """The list, after its page is stored."""
        if self.store is not None:
            self.store()
        return self.listed


class ThreadCacheManager:
    """Lists threads, keeps pages of lists, and warms those of users who are active."""

    def __init__(
        self, tiers: Tiers, retrieval: UnifiedMessageRetrievalService, lease: Lease
    ) -> None:
        self._pages = ThreadPages(tiers.redis_door)
        self._rows = ThreadRows(tiers.postgres)
        hot = HotThreads(tiers.redis)
        self._sources = ListSources(hot, self._rows, tiers.clickhouse, retrieval)
        self._lease = lease
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def page(self, user_id: str, query: ThreadQuery) -> ThreadList:
        """Part of a user's threads, most recently active first. Raises `TierUnavailable` where
        nobody knows any."""
        reader, opened = self._open(user_id, query)
        if opened is None or opened.fresh or not reader.is_redis_complete:
            return self._read(user_id, query, reader, opened).stored()
        # Of those who come for a list at once one reads it, and the others have what it stored.
        with self._turn(user_id) as waited:
            if waited:
                reader, opened = self._open(user_id, query)
            return self._read(user_id, query, reader, opened).stored()

    def unstored_page(self, user_id: str, query: ThreadQuery) -> UnstoredList:
        """Likewise, for a caller who is alone with this list in its process, and stores the page
        after showing it: that takes a sync of Redis's disk."""
        return self._read(user_id, query, *self._open(user_id, query))

    def _read(
        self, user_id: str, query: ThreadQuery, reader: ListReader, opened: CachedPages | None
    ) -> UnstoredList:
        fresh = opened.fresh if opened and reader.is_redis_complete else None
        if fresh is not None:
            return UnstoredList(ThreadList(fresh.threads, fresh.following, "redis", None))
        try:
            part = reader.grown(query, opened) if opened else None
            if part is None:
                part = reader.part(query, opened.waiting if opened else [])
        except TierUnavailable as error:
            if opened is None:
                raise NoTierAvailable([*reader.down.values(), error]) from error
            known = reader.last_known(query, opened)
            if known is None:
                raise NoTierAvailable([error]) from error
            with suppress(TierError):
                self._pages.keep([user_id])
            warning = warning_of({"postgresql"})
            return UnstoredList(ThreadList(written(known), known.following, "redis", warning))
        if opened is None:
            listed = ThreadList(written(part), part.following, reader.source, reader.warning)
            return UnstoredList(listed)
        page = opened.page_of(part)
        listed = ThreadList(page.threads, page.following, reader.source, reader.warning)
        return UnstoredList(listed, partial(self._store, user_id, query, page, reader))

    @contextmanager
    def _turn(self, user_id: str) -> Iterator[bool]:
        """The only block of this process that reads this user's list, as far as that does not take
        long; gives whether it had to wait for another."""
        lock = self._turns[hash(user_id) % TURNS]
        waits = not lock.acquire(blocking=False)
        has_turn = not waits or lock.acquire(timeout=max(0.0, min(TURN_SECONDS, budget.left())))
        try:
            yield waits
        finally:
            if has_turn:
                lock.release()

    def one(self, user_id: str, thread_id: str) -> ThreadSummary:
        """One thread as the list shows it. Raises `NotFound`, and `TierUnavailable` where a tier
        that could know it does not answer."""
        reader = self._reader(user_id)
        entry = reader.one(thread_id)
        if entry is not None:
            return entry.summary
        if reader.down:
            # What the tiers that answer do not know may still exist.
            raise reader.failure()
        raise NotFound

    def warm(self, user_ids: Sequence[str]) -> int:
        """Reads the first pages of users for whom none holds; gives how many that were.

        Raises `TierError`.
        """
        cold = self._pages.cold(user_ids)
        for user_id in cold:
            reader = self._reader(user_id)
            opened = self._pages.open(user_id, FIRST_PAGE, is_asked=False)
            part = reader.part(FIRST_PAGE, opened.waiting)
            self._store(user_id, FIRST_PAGE, opened.page_of(part), reader)
        return len(cold)

    def warm_active(self) -> int:
        """Likewise of the users who listed their threads, or wrote, within the last hour.

        Without PostgreSQL what there is of theirs is kept. Raises `TierError`.
        """
        listed = self._pages.active(MOST_WARMED)
        try:
            wrote = self._rows.active(ACTIVE_SECONDS, MOST_WARMED)
            return self.warm(list(dict.fromkeys([*listed, *wrote]))[:MOST_WARMED])
        except TierUnavailable as error:
            if error.tier == "postgresql":
                self._pages.keep(listed)
            raise

    def _reader(self, user_id: str) -> ListReader:
        is_redis_complete = self._lease.current().redis_complete
        return ListReader(self._sources, user_id, is_redis_complete=is_redis_complete)

    def _open(self, user_id: str, query: ThreadQuery) -> tuple[ListReader, CachedPages | None]:
        reader = self._reader(user_id)
        try:
            return reader, self._pages.open(user_id, query)
        except TierUnavailable as error:
            reader.down["redis"] = error
        except TierError as error:
            # Somebody else's key stands in the way of a cache that nobody needs.
            log.error("threads_not_cached", reason=error.reason)
            reader.down["redis"] = TierUnavailable("redis", error.reason, passing=True)
        return reader, None

    def _store(
        self, user_id: str, query: ThreadQuery, page: StoredPage, reader: ListReader
    ) -> None:
        """Keeps a page, unless a tier that could not be asked is missing from it."""
        if reader.down:
            return
        try:
            self._pages.store(user_id, query, page)
        except TierError as error:
            log.warning("threads_not_cached", reason=error.reason)
