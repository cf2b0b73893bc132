"""Merges what PostgreSQL and Redis know of one thread with writes that are not committed yet.

Pure, no I/O.
"""

from typing import NamedTuple

import msgspec

from models import ids
from models.message import Thread, ThreadSummary
from storage.postgres.reads import ThreadRow
from storage.threads.page import ThreadEntry, preview_of
from storage.threads.redis_view import HotThread


class Merged(NamedTuple):
    """A thread, with what each side knows of it. `row` is None where PostgreSQL lacks it, or has
    only what was deleted since."""

    entry: ThreadEntry
    row: ThreadRow | None
    hot: HotThread

    @property
    def countable_from(self) -> str | None:
        """The id from which on Redis alone can count, if there is one."""
        return self.hot.base if self.hot.is_whole else None

    @property
    def hot_preview(self) -> str | None:
        """How the newest message begins, as far as a whole index and its record say so."""
        message = self.hot.message
        if message is None or not self.hot.is_whole or message.deleted_at is not None:
            return None
        return preview_of(message.content)

    def counted(self, below: int | None) -> int:
        """How many messages there are, given how many PostgreSQL has below the index's base; else
        what it counted, and what lies above the newest that it knew."""
        if below is not None:
            return below + self.hot.listed
        return (self.row.message_count if self.row else 0) + self.hot.uncommitted

    def shown(self, *, count: int, preview: str | None) -> ThreadEntry:
        """The entry with its figures."""
        summary = msgspec.structs.replace(
            self.entry.summary,
            message_count=max(0, count),
            last_message_preview=preview if count > 0 else None,
        )
        return msgspec.structs.replace(self.entry, summary=summary)


def merge(
    user_id: str, thread_id: str, row: ThreadRow | None, hot: HotThread | None
) -> Merged | None:
    """The thread as both sides know it, without its figures; None for one that is not there."""
    hot = hot or _NOTHING
    versions = [one for one in (hot.thread, row.thread if row else None) if one]
    newest = max(versions, key=lambda one: (one.version, one.deleted_at is None), default=None)
    is_live = newest is not None and newest.deleted_at is None
    marks = [one.deleted_through or "" for one in versions]
    if not is_live and not hot.is_there(max(marks, default="")):
        return None
    if row is not None and (hot.watermark or "") > (row.thread.deleted_through or ""):
        # What it counted is gone with a deletion that it has not heard of.
        row = None
    own = newest if newest is not None and is_live else _opened(user_id, thread_id, newest, hot)
    moments = [row.last_message_at] if row and row.last_message_at else []
    if hot.newest_id is not None:
        moments.append(ids.timestamp(ids.time_us_of(hot.newest_id)))
    last = max(moments, default=None)
    mark = max(filter(None, (hot.watermark, own.deleted_through)), default=None)
    entry = ThreadEntry(last or own.created_at, own.version, mark, _summary(own, last))
    return Merged(entry, row, hot)


def _opened(user_id: str, thread_id: str, before: Thread | None, hot: HotThread) -> Thread:
    """A thread that only messages have made so far, or opened anew."""
    moment = ids.timestamp(hot.opened_us or 0)
    return Thread(
        version=before.version if before else 1,
        id=thread_id,
        user_id=user_id,
        title=None,
        metadata={},
        created_at=moment,
        updated_at=moment,
    )


def _summary(thread: Thread, last_message_at: str | None) -> ThreadSummary:
    return ThreadSummary(
        id=thread.id,
        user_id=thread.user_id,
        title=thread.title,
        metadata=thread.metadata,
        created_at=thread.created_at,
        last_message_at=last_message_at,
        message_count=0,
        last_message_preview=None,
        is_pinned=thread.is_pinned,
        is_archived=thread.is_archived,
    )


_NOTHING = HotThread(None, None, None, None, None, ids.LOWEST, 0, 0)
