"""A list of threads without PostgreSQL: the last page in Redis, and what was written since."""

from models import ids
from models.message import Thread
from storage.postgres.reads import ThreadRow
from storage.threads.merging import Merged, merge
from storage.threads.page import Position, ThreadEntry, ThreadQuery, cut
from storage.threads.page_cache import CachedPages
from storage.threads.redis_view import HotThreads


def last_known(
    user_id: str, query: ThreadQuery, opened: CachedPages, hot: HotThreads
) -> tuple[list[ThreadEntry], Position | None] | None:
    """The entries that Redis knows of, and the cursor of the next part; None if it knows nothing.

    Counts leave out what was deleted since, beside whole threads. Raises `TierError`.
    """
    stored = opened.page or opened.first_page
    known = {entry.summary.id: entry for entry in stored.entries} if stored else {}
    last = {name: known[name].summary.last_message_at for name in opened.waiting if name in known}
    wanted = {name: last.get(name) for name in opened.waiting}
    for name, found in hot.look(user_id, wanted, ids.LOWEST).items():
        before = known.pop(name, None)
        merged = merge(user_id, name, _row(before) if before else None, found)
        if merged is not None:
            known[name] = _shown(merged, before)
    if stored is None and not known:
        return None
    shown, following = cut(filter(query.takes, known.values()), query.limit)
    return shown, following or (stored.following if stored else None)


def _shown(merged: Merged, before: ThreadEntry | None) -> ThreadEntry:
    preview, mark = merged.hot_preview, merged.entry.deleted_through or ""
    if preview is None and before is not None and not merged.hot.is_there(mark):
        preview = before.summary.last_message_preview
    return merged.shown(count=merged.counted(None), preview=preview)


def _row(entry: ThreadEntry) -> ThreadRow:
    """What PostgreSQL knew when the page was read."""
    summary = entry.summary
    thread = Thread(
        version=entry.version,
        id=summary.id,
        user_id=summary.user_id,
        title=summary.title,
        metadata=summary.metadata,
        created_at=summary.created_at,
        updated_at=summary.created_at,
        deleted_through=entry.deleted_through,
        is_pinned=summary.is_pinned,
        is_archived=summary.is_archived,
    )
    return ThreadRow(thread, summary.last_message_at, summary.message_count)
