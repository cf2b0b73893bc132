"""The list of a user's threads: from Redis while its page there holds, else read anew."""

from collections.abc import Sequence
from contextlib import suppress

import structlog

from models.caveats import warning_of
from models.message import Caveat, Source, ThreadSummary
from storage.availability.lease import Lease
from storage.errors import NotFound, NoTierAvailable, TierError, TierUnavailable
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.threads.list_reader import ListReader, ListSources
from storage.threads.page import FIRST_PAGE, ThreadList, ThreadPart, ThreadQuery
from storage.threads.page_cache import ACTIVE_SECONDS, CachedPages, ThreadPages
from storage.threads.redis_view import HotThreads
from storage.threads.rows import ThreadRows
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

MOST_WARMED = 500
"""Users of one run."""


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

    def page(self, user_id: str, query: ThreadQuery) -> ThreadList:
        """Part of a user's threads, most recently active first. Raises `TierUnavailable` where
        nobody knows any."""
        reader = self._reader(user_id)
        opened = self._open(user_id, query, reader)
        fresh = opened.fresh if opened else None
        if fresh is not None and reader.is_redis_complete:
            return _answer(ThreadPart(fresh.entries, fresh.following), "redis", None)
        try:
            part = reader.part(query, opened.waiting if opened else [])
        except TierUnavailable as error:
            if opened is None:
                raise NoTierAvailable([*reader.down.values(), error]) from error
            known = reader.last_known(query, opened)
            if known is None:
                raise NoTierAvailable([error]) from error
            with suppress(TierError):
                self._pages.keep([user_id])
            return _answer(known, "redis", warning_of({"postgresql"}))
        if opened is not None:
            self._store(user_id, query, opened, part, reader)
        return _answer(part, reader.source, reader.warning)

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
            self._store(user_id, FIRST_PAGE, opened, part, reader)
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

    def _open(self, user_id: str, query: ThreadQuery, reader: ListReader) -> CachedPages | None:
        try:
            return self._pages.open(user_id, query)
        except TierUnavailable as error:
            reader.down["redis"] = error
        except TierError as error:
            # Somebody else's key stands in the way of a cache that nobody needs.
            log.error("threads_not_cached", reason=error.reason)
            reader.down["redis"] = TierUnavailable("redis", error.reason, passing=True)
        return None

    def _store(
        self,
        user_id: str,
        query: ThreadQuery,
        opened: CachedPages,
        part: ThreadPart,
        reader: ListReader,
    ) -> None:
        """Keeps a page, unless a tier that could not be asked is missing from it."""
        if reader.down:
            return
        try:
            self._pages.store(user_id, query, opened.generation, part)
        except TierError as error:
            log.warning("threads_not_cached", reason=error.reason)


def _answer(part: ThreadPart, source: Source, warning: Caveat | None) -> ThreadList:
    return ThreadList([entry.summary for entry in part.entries], part.following, source, warning)
