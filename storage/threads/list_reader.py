"""Reads a user's threads from PostgreSQL and Redis, with counts and previews."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from models import ids
from storage.availability.reading import Reading
from storage.clickhouse.reads import ClickHouseTier
from storage.errors import TierUnavailable
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.postgres.reads import ThreadRow
from storage.threads.merging import KnownThread
from storage.threads.page import PREVIEW_READ, ThreadEntry, ThreadPart, ThreadQuery, cut, preview_of
from storage.threads.page_cache import CachedPages
from storage.threads.redis_view import NOTHING_HOT, HotThreads
from storage.threads.rows import CommittedThreads, Newest, ThreadRows, entry_of

MOST_SINGLE = 100
"""Threads of a page whose previews are read one by one; the others show none."""


class ListSources(NamedTuple):
    """What lists of threads are read from."""

    hot: HotThreads
    rows: ThreadRows
    clickhouse: ClickHouseTier
    retrieval: UnifiedMessageRetrievalService


class ListReader(Reading):
    """One reading. Without `is_redis_complete` no index in Redis is counted."""

    def __init__(self, sources: ListSources, user_id: str, *, is_redis_complete: bool) -> None:
        super().__init__()
        self._hot, self._rows, self._clickhouse, self._retrieval = sources
        self._user_id = user_id
        self.is_redis_complete = is_redis_complete
        self._singles = 0

    def part(self, query: ThreadQuery, waiting: Sequence[str]) -> ThreadPart:
        """Part of the list, given the threads that have uncommitted writes.

        Raises `TierUnavailable` without PostgreSQL.
        """
        found = self._rows.page(self._user_id, query, waiting)
        self.sources.add("postgresql")
        merged = {one.thread_id: one for one in self._merged(waiting, found, waiting)}
        rows = {row.thread.id: row for row in found.page}
        candidates = [entry_of(row, None) for row in rows.values()]
        candidates += filter(query.takes, (one.entry() for one in merged.values()))
        shown, following = cut(candidates, query.limit)
        names = [entry.thread.id for entry in shown]
        committed = [rows[name] for name in names if name in rows]
        previews = self._previews(committed, found.boundary)
        entries = self._filled([merged[name] for name in names if name in merged])
        entries += [entry_of(row, previews.get(row.thread.id)) for row in committed]
        return cut(entries, len(entries))._replace(following=following)

    def grown(self, query: ThreadQuery, opened: CachedPages) -> ThreadPart | None:
        """The page in Redis with what got new messages since, each thread of which is above all
        that was below the page; None where that is not all there is to read."""
        page = opened.current
        if page is None or query.cursor is not None or not self.is_redis_complete:
            return None
        entries = {entry.thread.id: entry for entry in page.entries}
        listed = [name for name in opened.changed if name in entries]
        unlisted = [name for name in opened.changed if name not in entries]
        if len(unlisted) > MOST_SINGLE:
            return None
        threads = self.ask("redis", lambda: self._since(entries, listed))
        if threads is None or not all(thread.is_told_by_redis for thread in threads):
            return None
        for thread in threads:
            count = thread.message_count(None)
            entries[thread.thread_id] = thread.entry(count, thread.hot_preview)
        risen = filter(query.takes, self._named(unlisted) if unlisted else ())
        part = cut([*entries.values(), *risen], len(entries) if page.following else query.limit)
        if self.down:
            return None
        return part._replace(following=part.entries[-1].position) if page.following else part

    def one(self, thread_id: str) -> ThreadEntry | None:
        """One thread by its name, as far as the tiers that answer know it.

        Raises `TierUnavailable` where a tier that has to count does not answer.
        """
        return next(iter(self._named([thread_id])), None)

    def last_known(self, query: ThreadQuery, opened: CachedPages) -> ThreadPart | None:
        """Without PostgreSQL: the last page in Redis, and what was written since; None where Redis
        knows nothing. Counts leave out what was deleted since, except with whole threads.

        Raises `TierError`.
        """
        stored = opened.page or opened.first_page
        known = {entry.thread.id: entry for entry in stored.entries} if stored else {}
        for thread in self._since(known, opened.waiting):
            before = known.pop(thread.thread_id, None)
            if not thread.is_live:
                continue
            preview = thread.hot_preview
            if preview is None and before and not thread.hot.is_there(thread.deleted_through or ""):
                preview = before.preview
            known[thread.thread_id] = thread.entry(thread.message_count(None), preview)
        if stored is None and not known:
            return None
        part = cut(filter(query.takes, known.values()), query.limit)
        return part if part.following or not stored else part._replace(following=stored.following)

    def _since(self, listed: Mapping[str, ThreadEntry], names: Sequence[str]) -> list[KnownThread]:
        """Threads as they were listed, if they were, with what Redis has of them since."""
        before = {name: listed[name].row if name in listed else None for name in names}
        last = {name: row.last_message_at if row else None for name, row in before.items()}
        hot = self._hot.read(self._user_id, last, ids.LOWEST)
        return [KnownThread(self._user_id, name, row, hot[name]) for name, row in before.items()]

    def _named(self, names: Sequence[str]) -> list[ThreadEntry]:
        """Threads by name, as far as the tiers that answer know them; the others are `down`."""
        waiting = self.ask("redis", lambda: self._hot.waiting(self._user_id, names)) or ()
        found = self.ask("postgresql", lambda: self._rows.named(self._user_id, names))
        merged = self._merged(names, found or CommittedThreads([], {}, ids.LOWEST), waiting)
        return self._filled(merged)

    def _merged(
        self, names: Sequence[str], found: CommittedThreads, waiting: Collection[str]
    ) -> list[KnownThread]:
        """Threads by name as PostgreSQL and Redis know them, without those that are gone; `waiting`
        are those that had uncommitted writes before PostgreSQL was asked."""
        if not names:
            return []
        committed = {name: row.last_message_at for name, row in found.named.items()}
        last = {name: committed.get(name) for name in names}
        user_id = self._user_id
        hot = self.ask("redis", lambda: self._hot.read(user_id, last, found.boundary)) or {}
        known = {
            name: KnownThread(user_id, name, found.named.get(name), hot.get(name, NOTHING_HOT))
            for name in names
        }
        evicted = [name for name in waiting if known[name].hot.thread is None]
        known |= self._committed_since([known[name] for name in evicted])
        return [one for one in known.values() if one.is_live]

    def _committed_since(self, evicted: Sequence[KnownThread]) -> dict[str, KnownThread]:
        """Threads whose own data may have been committed after they were asked for, and evicted
        before Redis was: with it as it is now, and counted as before."""
        if not evicted:
            return {}
        names = [one.thread_id for one in evicted]
        found = self.ask("postgresql", lambda: self._rows.named(self._user_id, names))
        rows = found.named if found else {}
        return {
            one.thread_id: one.with_own_data(rows[one.thread_id])
            for one in evicted
            if one.thread_id in rows
        }

    def _filled(self, merged: Sequence[KnownThread]) -> list[ThreadEntry]:
        """Threads with their figures and previews, from whoever can tell."""
        bases = {
            one.thread_id: one.countable_from
            for one in merged
            if one.countable_from is not None and self.is_redis_complete
        }
        known = {one.thread_id for one in merged if one.counted is not None}
        wanted = {name: base for name, base in bases.items() if name in known}
        below = dict.fromkeys(bases, 0) | self._rows.below(self._user_id, wanted)
        entries = []
        for one in merged:
            count = one.message_count(below.get(one.thread_id))
            preview = one.hot_preview if self.is_redis_complete else None
            if preview is None and count > 0:
                preview = self._single(one.thread_id)
            entries.append(one.entry(count, preview))
        return entries

    def _previews(self, rows: Sequence[ThreadRow], boundary: str) -> dict[str, str]:
        """The previews of threads without uncommitted writes: from PostgreSQL, and for threads
        whose newest messages are archived from ClickHouse, if it answers."""
        newest = self._rows.newest(self._user_id, [row for row in rows if row.message_count > 0])
        found = {
            name: preview_of(one.content) for name, one in newest.items() if one.content is not None
        }
        old = {
            name: one
            for name, one in newest.items()
            if not one.is_last and (one.id or ids.LOWEST) < boundary
        }
        return found | self._archived(old, boundary) if old and boundary > ids.LOWEST else found

    def _archived(self, old: Mapping[str, Newest], boundary: str) -> dict[str, str]:
        try:
            marks = {name: one.mark for name, one in old.items()}
            archived = self._clickhouse.newest(self._user_id, marks, boundary, PREVIEW_READ)
        except TierUnavailable as error:
            self.down["clickhouse"] = error
            return {}
        newer = {name: one for name, one in archived.items() if one[0] > (old[name].id or "")}
        if not newer:
            return {}
        self.sources.add("clickhouse")
        # What was deleted there since is known to PostgreSQL first.
        known = self._rows.copies(self._user_id, [message_id for message_id, _ in newer.values()])
        found: dict[str, str | None] = {}
        for name, (message_id, content) in newer.items():
            current = known.get(message_id, content)
            # Of one that was deleted a moment ago the next is to be found.
            found[name] = self._single(name) if current is None else preview_of(current)
        return {name: preview for name, preview in found.items() if preview is not None}

    def _single(self, thread_id: str) -> str | None:
        """The preview of a thread that is read over all tiers."""
        self._singles += 1
        if self._singles > MOST_SINGLE:
            return None
        newest = partial(self._retrieval.page, limit=1, cursor=None, order="desc")
        try:
            page = newest(self._user_id, thread_id)
        except TierUnavailable as error:
            self.down[error.tier] = error
            return None
        return preview_of(page.messages[0].content) if page.messages else None
