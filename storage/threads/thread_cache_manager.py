"""The list of a user's threads: from Redis when it is warm, else PostgreSQL's threads merged with
those that have writes which are not committed yet.

A page in Redis is believed only while Redis is, as with messages. Without PostgreSQL what Redis
knows is shown, the last page of an earlier generation included, with a warning.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from models import ids
from models.caveats import warning_of
from models.message import Caveat, Source, ThreadSummary
from storage.availability.lease import Completeness, Lease
from storage.errors import NotFound, NoTierAvailable, TierError, TierUnavailable
from storage.threads.degraded import last_known
from storage.threads.merging import Merged, merge
from storage.threads.page import FIRST_PAGE, Position, ThreadEntry, ThreadList, ThreadQuery, cut
from storage.threads.page_cache import ACTIVE_SECONDS, CachedPages, ThreadPages
from storage.threads.previews import Previews, Reading
from storage.threads.redis_view import HotThread, HotThreads
from storage.threads.rows import CommittedThreads, ThreadRows, entry_of

log = structlog.get_logger(__name__)

MOST_WARMED = 500
"""Users of one run."""


class _Part(NamedTuple):
    entries: list[ThreadEntry]
    following: Position | None


class ThreadCacheManager:
    """Lists threads, keeps pages of lists, and warms those of users who are active."""

    def __init__(
        self,
        pages: ThreadPages,
        hot: HotThreads,
        rows: ThreadRows,
        previews: Previews,
        lease: Lease,
    ) -> None:
        self._pages = pages
        self._hot = hot
        self._rows = rows
        self._previews = previews
        self._lease = lease

    def page(self, user_id: str, query: ThreadQuery) -> ThreadList:
        """Part of a user's threads, most recently active first. Raises `TierUnavailable` where
        nobody knows any."""
        standing = self._lease.current()
        reading = Reading()
        opened = self._open(user_id, query, reading)
        if opened is not None and (fresh := opened.fresh) is not None and standing.redis_complete:
            return _answer(fresh.entries, fresh.following, "redis", None)
        try:
            part = self._read(user_id, query, opened, standing, reading)
        except TierUnavailable as error:
            if opened is None:
                raise NoTierAvailable([*reading.down.values(), error]) from error
            known = last_known(user_id, query, opened, self._hot)
            if known is None:
                raise NoTierAvailable([error]) from error
            self._keep(user_id)
            return _answer(*known, "redis", warning_of({"postgresql"}))
        if opened is not None and not reading.down:
            self._store(user_id, query, opened, part)
        return _answer(*part, reading.source, warning_of(set(reading.down)))

    def one(self, user_id: str, thread_id: str) -> ThreadSummary:
        """One thread as the list shows it. Raises `NotFound`, and `TierUnavailable` where a tier
        that could know it does not answer."""
        standing = self._lease.current()
        reading = Reading()
        try:
            found = self._rows.named(user_id, [thread_id])
        except TierUnavailable as error:
            reading.down["postgresql"] = error
            found = CommittedThreads([], {}, ids.LOWEST)
        merged = self._merged(user_id, [thread_id], found, reading)
        if not merged:
            if reading.down:
                # What the tiers that answer do not know may still exist.
                raise NoTierAvailable(list(reading.down.values()))
            raise NotFound
        (entry,) = self._filled(user_id, merged, standing, reading)
        return entry.summary

    def warm(self, user_ids: Sequence[str]) -> int:
        """Reads the first pages of users for whom none holds; gives how many that were.

        Raises `TierError`.
        """
        cold = self._pages.cold(user_ids)
        for user_id in cold:
            standing, reading = self._lease.current(), Reading()
            opened = self._pages.open(user_id, FIRST_PAGE, is_asked=False)
            part = self._read(user_id, FIRST_PAGE, opened, standing, reading)
            if not reading.down:
                self._store(user_id, FIRST_PAGE, opened, part)
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

    def _open(self, user_id: str, query: ThreadQuery, reading: Reading) -> CachedPages | None:
        try:
            return self._pages.open(user_id, query)
        except TierUnavailable as error:
            reading.down["redis"] = error
        except TierError as error:
            # Somebody else's key stands in the way of a cache that nobody needs.
            log.error("threads_not_cached", reason=error.reason)
            reading.down["redis"] = TierUnavailable("redis", error.reason, passing=True)
        return None

    def _store(self, user_id: str, query: ThreadQuery, opened: CachedPages, part: _Part) -> None:
        try:
            self._pages.store(user_id, query, opened.generation, *part)
        except TierError as error:
            log.warning("threads_not_cached", reason=error.reason)

    def _keep(self, user_id: str) -> None:
        with suppress(TierError):
            self._pages.keep([user_id])

    def _read(
        self,
        user_id: str,
        query: ThreadQuery,
        opened: CachedPages | None,
        standing: Completeness,
        reading: Reading,
    ) -> _Part:
        """The truth. Raises `TierUnavailable` without PostgreSQL."""
        waiting = opened.waiting if opened else []
        found = self._rows.page(user_id, query, waiting)
        reading.sources.add("postgresql")
        merged = {
            one.entry.summary.id: one
            for one in self._merged(user_id, waiting, found, reading)
            if query.takes(one.entry)
        }
        rows = {row.thread.id: row for row in found.page}
        candidates = [entry_of(row, None) for row in rows.values()]
        candidates += [one.entry for one in merged.values()]
        shown, following = cut(candidates, query.limit)
        names = [entry.summary.id for entry in shown]
        committed = [rows[name] for name in names if name in rows]
        previews = self._previews.committed(user_id, committed, found.boundary, reading)
        both = [merged[name] for name in names if name in merged]
        filled = {
            entry.summary.id: entry for entry in self._filled(user_id, both, standing, reading)
        }
        for row in committed:
            filled[row.thread.id] = entry_of(row, previews.get(row.thread.id))
        return _Part([filled[name] for name in names], following)

    def _merged(
        self, user_id: str, names: Sequence[str], found: CommittedThreads, reading: Reading
    ) -> list[Merged]:
        """Threads by name as PostgreSQL and Redis know them, without those that are gone."""
        if not names:
            return []
        hot: dict[str, HotThread] = {}
        last = {name: row.last_message_at for name, row in found.named.items()}
        try:
            hot = self._hot.look(user_id, {name: last.get(name) for name in names}, found.boundary)
        except TierUnavailable as error:
            reading.down["redis"] = error
        else:
            reading.sources.add("redis")
        merged = (merge(user_id, name, found.named.get(name), hot.get(name)) for name in names)
        return [one for one in merged if one is not None]

    def _filled(
        self,
        user_id: str,
        merged: Sequence[Merged],
        standing: Completeness,
        reading: Reading,
    ) -> list[ThreadEntry]:
        """Threads with their figures and previews, from whoever can tell."""
        bases = {
            one.entry.summary.id: one.countable_from
            for one in merged
            if one.countable_from is not None and standing.redis_complete
        }
        known = {one.entry.summary.id for one in merged if one.row is not None}
        below = dict.fromkeys(bases, 0)
        below |= self._rows.below(
            user_id, {name: base for name, base in bases.items() if name in known}
        )
        entries = []
        for one in merged:
            name = one.entry.summary.id
            count = one.counted(below.get(name))
            preview = one.hot_preview if name in bases else None
            if preview is None and count > 0:
                preview = self._previews.single(user_id, name, reading)
            entries.append(one.shown(count=count, preview=preview))
        return entries


def _answer(
    entries: Sequence[ThreadEntry],
    following: Position | None,
    source: Source,
    warning: Caveat | None,
) -> ThreadList:
    return ThreadList([entry.summary for entry in entries], following, source, warning)
