"""One thread as PostgreSQL and Redis know it, with writes that are not committed yet.

Pure, no I/O.
"""

from datetime import datetime
from typing import NamedTuple

import msgspec

from models import ids
from models.message import Thread
from storage.postgres.reads import ThreadRow
from storage.threads.page import ThreadEntry, preview_of
from storage.threads.redis_view import HotThread


class KnownThread(NamedTuple):
    """What each side knows of a thread; `row` is None where PostgreSQL lacks it."""

    user_id: str
    thread_id: str
    row: ThreadRow | None
    hot: HotThread

    @property
    def newest(self) -> Thread | None:
        """The newest version of the thread's own data, a deleted one included."""
        versions = self._versions()
        return max(versions, key=lambda one: (one.version, one.deleted_at is None), default=None)

    @property
    def deleted_through(self) -> str | None:
        """The id at and below which messages are gone, with the thread or with its user."""
        marks = [one.deleted_through for one in self._versions()]
        return max(filter(None, (self.hot.watermark, self.hot.erased, *marks)), default=None)

    @property
    def is_live(self) -> bool:
        """Whether the thread is there, if only because messages are."""
        newest = self.newest
        if newest is not None and newest.deleted_at is None:
            return True
        return self.hot.is_there(self.deleted_through or "")

    @property
    def counted(self) -> ThreadRow | None:
        """What PostgreSQL counted, unless that went with a deletion that it has not heard of."""
        row = self.row
        if row is None or (self.hot.watermark or "") > (row.thread.deleted_through or ""):
            return None
        return row

    @property
    def newest_us(self) -> int:
        """When the newest message that either side knows of was made, 0 if neither knows any."""
        hot_us = ids.time_us_of(self.hot.newest_id) if self.hot.newest_id else 0
        last = self.row.last_message_at if self.row else None
        return max(hot_us, ids.time_us(datetime.fromisoformat(last)) if last else 0)

    @property
    def last_message_at(self) -> str | None:
        """When the newest message that is there was made."""
        newest_id, row = self.hot.newest_id, self.counted
        hot = ids.timestamp(ids.time_us_of(newest_id)) if newest_id else None
        return max(filter(None, (hot, row.last_message_at if row else None)), default=None)

    @property
    def countable_from(self) -> str | None:
        """The id from which on Redis alone can count, if there is one."""
        return self.hot.base if self.hot.is_whole else None

    @property
    def hot_preview(self) -> str | None:
        """How the newest message begins, as far as Redis knows which that is and has its record."""
        message = self.hot.message if self.hot.is_whole or self._is_newest_hot else None
        if message is None or message.deleted_at is not None:
            return None
        return preview_of(message.content)

    @property
    def _is_newest_hot(self) -> bool:
        """Whether PostgreSQL knows the thread, and no message that is newer than Redis's newest."""
        newest_id, row = self.hot.newest_id, self.counted
        if newest_id is None or row is None or newest_id <= (self.deleted_through or ""):
            return False
        return ids.timestamp(ids.time_us_of(newest_id)) >= (row.last_message_at or "")

    @property
    def is_told_by_redis(self) -> bool:
        """Whether Redis alone says what came since the row: its index is complete from there on."""
        last = self.counted.last_message_at if self.counted else None
        if last is None or self.hot_preview is None:
            return False
        since = ids.highest_of(last, ids.shard_of(self.user_id, self.thread_id))
        return max(self.hot.floor or "", self.deleted_through or "") <= since

    def with_own_data(self, row: ThreadRow) -> "KnownThread":
        """The thread with its own data from a later row; what its messages say of it stays as it
        was, unless nothing else does."""
        if self.row is not None:
            return self._replace(row=self.row._replace(thread=row.thread))
        if self.hot.newest_id is not None:
            row = ThreadRow(row.thread, None, 0)
        return self._replace(row=row)

    def own(self, otherwise_us: int = 0) -> Thread:
        """The thread's own data; for one that only messages have made so far, what they say. Where
        they do not say when it was made, it was at the moment that is given."""
        newest = self.newest
        if newest is not None and newest.deleted_at is None:
            return newest
        moment = ids.timestamp(self.hot.opened_us or otherwise_us)
        return Thread(
            version=newest.version if newest else 1,
            id=self.thread_id,
            user_id=self.user_id,
            title=None,
            metadata={},
            created_at=moment,
            updated_at=moment,
            deleted_through=self.deleted_through,
        )

    def message_count(self, below: int | None) -> int:
        """How many messages there are, given how many PostgreSQL has below the index's base; else
        what it counted, and what lies above the newest that it knew."""
        if below is not None:
            return max(0, below + self.hot.listed)
        counted = self.counted.message_count if self.counted else 0
        return max(0, counted + self.hot.uncommitted)

    def entry(self, count: int = 0, preview: str | None = None) -> ThreadEntry:
        """The thread as an entry of a list, with these figures."""
        thread = msgspec.structs.replace(self.own(), deleted_through=self.deleted_through)
        return ThreadEntry(thread, self.last_message_at, count, preview if count > 0 else None)

    def _versions(self) -> list[Thread]:
        return [one for one in (self.hot.thread, self.row.thread if self.row else None) if one]
