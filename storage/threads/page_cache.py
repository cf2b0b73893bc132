"""Pages of lists of threads in Redis: a page holds as long as its generation does.

Each write to a user takes the generation away, in the step that makes it. The first reader after
that begins a new one, and a page is kept only if the generation that its reader began with is
still there. So no write can come between reading and keeping. Pages of an earlier generation stay
for when PostgreSQL is out.
"""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from storage.redis import keys
from storage.redis.driver import RedisGateway, Script
from storage.threads.page import FIRST_PAGE, Position, StoredPage, ThreadEntry, ThreadQuery

PAGE_SECONDS = 600
ACTIVE_SECONDS = 3_600
MOST_PAGES = 16
LARGEST_PAGE_BYTES = 1024 * 1024
USERS_AT_ONCE = 200

_page = msgspec.json.Decoder(StoredPage)


class CachedPages(NamedTuple):
    """What there is for a query: the generation to read under, empty where none can be begun; the
    page, perhaps of an earlier one; the page to fall back to; the threads with writes that are not
    committed yet, unless the page holds."""

    generation: str
    page: StoredPage | None
    first_page: StoredPage | None
    waiting: list[str]

    @property
    def fresh(self) -> StoredPage | None:
        """The page, if nothing was written since it was read."""
        page = self.page
        return page if page is not None and page.generation == self.generation else None


class ThreadPages:
    """The verbs of the cache. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(self, door: RedisGateway) -> None:
        self._door = door
        self._open = Script(door, "open_threads")
        self._store = Script(door, "store_threads")

    def open(self, user_id: str, query: ThreadQuery, *, is_asked: bool = True) -> CachedPages:
        """Looks for the page of a query; if a user asks, that is remembered for a while."""
        generation, page, first_page, waiting = self._open(
            [keys.thread_pages(user_id), keys.waiting_threads(user_id), keys.ACTIVE_LISTS],
            [
                secrets.token_hex(12),
                PAGE_SECONDS,
                query.name,
                FIRST_PAGE.name,
                user_id if is_asked else "",
                ACTIVE_SECONDS,
            ],
        )
        names = [name.decode() for name in waiting]
        return CachedPages(generation.decode(), _page_of(page), _page_of(first_page), names)

    def store(
        self,
        user_id: str,
        query: ThreadQuery,
        generation: str,
        entries: list[ThreadEntry],
        following: Position | None,
    ) -> bool:
        """Keeps a page that was read under a generation; gives whether that still held."""
        page = msgspec.json.encode(StoredPage(generation, entries, following))
        if not generation or len(page) > LARGEST_PAGE_BYTES:
            return False
        return bool(
            self._store(
                [keys.thread_pages(user_id), keys.erased(0, user_id)],
                [generation, query.name, page, FIRST_PAGE.name, MOST_PAGES],
            )
        )

    def keep(self, user_ids: Sequence[str]) -> None:
        """Has pages stay while PostgreSQL is out. None of them holds afterwards: how long one may
        hold is bounded by how long it stays."""
        for batch in _batches(user_ids):
            with self._door.guarded() as client:
                pipeline = client.pipeline(transaction=False)
                for user_id in batch:
                    pipeline.hdel(keys.thread_pages(user_id), "generation")
                    pipeline.expire(keys.thread_pages(user_id), PAGE_SECONDS)
                pipeline.execute()

    def cold(self, user_ids: Sequence[str]) -> list[str]:
        """Those of the users whose first page does not hold, or is not there."""
        found = []
        for batch in _batches(user_ids):
            with self._door.guarded() as client:
                pipeline = client.pipeline(transaction=False)
                for user_id in batch:
                    wanted = ["generation", FIRST_PAGE.name]
                    pipeline.hmget(keys.thread_pages(user_id), wanted)
                answers = pipeline.execute()
            for user_id, (generation, page) in zip(batch, answers, strict=True):
                stored = _page_of(page or b"")
                if not generation or stored is None or stored.generation != generation.decode():
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


def _page_of(found: bytes) -> StoredPage | None:
    if not found:
        return None
    try:
        return _page.decode(found)
    except msgspec.MsgspecError:
        # One of another version of this program.
        return None


def _batches(user_ids: Sequence[str]) -> list[Sequence[str]]:
    return [user_ids[at : at + USERS_AT_ONCE] for at in range(0, len(user_ids), USERS_AT_ONCE)]
