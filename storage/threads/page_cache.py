"""Pages of lists of threads, cached in Redis under a generation id, which every write deletes that
does more than add messages: their threads are counted and named beside the pages.

A page is stored only if the id that its reader started with is still there. Pages of an earlier
generation stay for when PostgreSQL is down.
"""

import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec

from storage.redis import keys
from storage.redis.driver import RedisGateway, Script
from storage.resilience.bites import batches
from storage.threads.page import FIRST_PAGE, StoredPage, ThreadPart, ThreadQuery, written

PAGE_SECONDS = 600
ACTIVE_SECONDS = 3_600
MOST_PAGES = 16
LARGEST_PAGE_BYTES = 1024 * 1024
USERS_AT_ONCE = 200

_page = msgspec.json.Decoder(StoredPage)


class CachedPages(NamedTuple):
    """What there is for a query: the generation to read under, empty where none can be begun, and
    its changes so far; the page, perhaps of an earlier one; the page to fall back to; the threads
    with uncommitted writes, and those with new messages since the page, unless it holds."""

    generation: str
    changes: int
    page: StoredPage | None
    first_page: StoredPage | None
    waiting: list[str]
    changed: list[str]

    def page_of(self, part: ThreadPart) -> StoredPage:
        """A part that was read since, as it is to be cached."""
        unshown = [entry.unshown for entry in part.entries]
        return StoredPage(self.generation, self.changes, part.following, unshown, written(part))

    @property
    def current(self) -> StoredPage | None:
        """The page, if nothing but new messages of those threads was written since it was read."""
        page = self.page
        return page if page is not None and page.generation == self.generation else None

    @property
    def fresh(self) -> StoredPage | None:
        """The page, if nothing was written since it was read."""
        page = self.current
        return page if page is not None and page.changes == self.changes else None


class ThreadPages:
    """The verbs of the cache. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, door: RedisGateway) -> None:
        self._door = door
        self._process = secrets.token_hex(12)
        self._opened = count()
        self._open = Script(door, "open_threads")
        self._store = Script(door, "store_threads")

    def open(self, user_id: str, query: ThreadQuery, *, is_asked: bool = True) -> CachedPages:
        """Looks for the page of a query; if a user asks, that is remembered for a while."""
        generation, changes, page, first_page, waiting, changed = self._open(
            [keys.thread_pages(user_id), keys.waiting_threads(user_id), keys.ACTIVE_LISTS],
            [
                f"{self._process}{next(self._opened):x}",
                PAGE_SECONDS,
                query.name,
                FIRST_PAGE.name,
                user_id if is_asked else "",
                ACTIVE_SECONDS,
            ],
        )
        return CachedPages(
            generation.decode(),
            changes,
            _page_of(page),
            _page_of(first_page),
            [name.decode() for name in waiting],
            [name.decode() for name in changed],
        )

    def store(self, user_id: str, query: ThreadQuery, stored: StoredPage) -> bool:
        """Keeps a page that was read under a generation; gives whether that still held."""
        generation, page = stored.generation, msgspec.json.encode(stored)
        if not generation or len(page) > LARGEST_PAGE_BYTES:
            return False
        return bool(
            self._store(
                [keys.thread_pages(user_id), keys.erased(0, user_id)],
                [generation, query.name, page, FIRST_PAGE.name, MOST_PAGES],
            )
        )

    def keep(self, user_ids: Sequence[str]) -> None:
        """Has pages stay while PostgreSQL is down. None of them is fresh afterwards: how long one
        may be is bounded by how long it stays."""

        def ask(pipeline: Any, pages: str) -> None:
            pipeline.hdel(pages, "generation")
            pipeline.expire(pages, PAGE_SECONDS)

        self._piped(user_ids, ask)

    def cold(self, user_ids: Sequence[str]) -> list[str]:
        """Those of the users whose first page is not fresh, or not there."""
        wanted = ["generation", "changes", FIRST_PAGE.name]
        answers = self._piped(user_ids, lambda pipeline, pages: pipeline.hmget(pages, wanted))
        found = []
        for user_id, (generation, changes, page) in zip(user_ids, answers, strict=True):
            stored = _page_of(page or b"")
            known = (stored.generation.encode(), stored.changes) if stored else None
            if known != (generation, int(changes or 0)):
                found.append(user_id)
        return found

    def active(self, most: int) -> list[str]:
        """The users who listed their threads lately, the latest first."""
        with self._door.guarded() as client:
            seconds: Any = client.time()
            since = int(seconds[0]) - ACTIVE_SECONDS
            client.zremrangebyscore(keys.ACTIVE_LISTS, "-inf", since)
            found: Any = client.zrevrange(keys.ACTIVE_LISTS, 0, most - 1)
        return [user_id.decode() for user_id in found]

    def _piped(self, user_ids: Sequence[str], ask: Callable[[Any, str], object]) -> list[Any]:
        """The answers to what is asked of each user's pages, many users in one round trip."""
        pages = map(keys.thread_pages, user_ids)
        return [
            answer
            for batch in batches(pages, USERS_AT_ONCE)
            for answer in self._door.each(ask, batch)
        ]


def _page_of(found: bytes) -> StoredPage | None:
    if not found:
        return None
    try:
        return _page.decode(found)
    except msgspec.MsgspecError:
        # One of another version of this program.
        return None
