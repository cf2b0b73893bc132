"""Finds messages in all tiers as one list, newest first by id.

ClickHouse has the index of words, and every message within seconds. What it lacks until then is
read from the log in Redis and the rows of PostgreSQL's outbox. Candidates come span by span from
the newest down; the newest version of each is matched by the same rules, whoever gave it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from models import codec, ids
from models.message import Caveat, Message, Tier
from storage.availability.lease import Lease
from storage.availability.reading import Reading, source_of
from storage.redis.unpersisted import Unpersisted, UnpersistedWrites
from storage.resilience.bites import first_page
from storage.search.clickhouse import MOST_SECONDS, SearchArchive
from storage.search.postgres import SearchRows
from storage.search.query import NOTHING, Hit, Known, Matches, SearchHits, SearchSpan, Wanted
from storage.telemetry.instruments import Instruments

SEARCH_SECONDS = 1.0
"""After this a page is returned as short as it is, with a cursor."""

FIRST_CANDIDATES = 64
MOST_CANDIDATES = 2_000
"""Of one tier at once: few at first, since mostly they suffice, then more and more."""

FIRST_ARCHIVED = 1_000_000
"""Rows of ClickHouse that are searched at first."""

FIRST_ROWS = 2_000
"""Rows of PostgreSQL, which has no index of words, so few: each may have 64 KiB."""

GROWTH = 4

QUICK_SECONDS = MOST_SECONDS / (2 * GROWTH)
"""Only a query as fast as this is followed by a larger one: ClickHouse gives up what takes long."""


@dataclass(eq=False)
class SearchService:
    """The verb of search over the tiers."""

    unpersisted: UnpersistedWrites
    rows: SearchRows
    archive: SearchArchive
    lease: Lease
    _instruments: Instruments

    def search(self, user_id: str, wanted: Wanted, *, limit: int, cursor: str | None) -> SearchHits:
        """Up to `limit` of a user's messages that match, newest first, below a cursor.

        Raises `TierUnavailable` only when no tier answers.
        """
        started = time.perf_counter()
        found = _Search(self, user_id, wanted).run(limit, min(cursor or ids.HIGHEST, wanted.high))
        self._instruments.read(found.source, time.perf_counter() - started)
        return found


class _Versions(dict[str, tuple[Message, Tier]]):
    """The newest version of each message that any tier gave, by id, and which tier that was."""

    def take(self, messages: Iterable[Message], tier: Tier) -> None:
        for message in messages:
            known = self.get(message.id)
            if known is None or known[0].version < message.version:
                self[message.id] = message, tier

    def besides(self, tier: Tier) -> list[str]:
        """The ids of those that another tier gave."""
        return [name for name, (_, giver) in self.items() if giver != tier]


@dataclass(eq=False)
class _Stride:
    """Searches a tier by so many rows at once, and by more and more as long as that is quick."""

    _rows: int
    _floor: Callable[[SearchSpan, int], str]
    _candidates: Callable[[SearchSpan], Matches]

    def take(self, span: SearchSpan) -> Matches:
        """The candidates of a span, or of as much of it as is searched at once."""
        started = time.monotonic()
        low = max(span.low, self._floor(span, self._rows))
        found = self._candidates(span._replace(low=low))
        if found.horizon is not None:
            return found
        if time.monotonic() - started < QUICK_SECONDS:
            self._rows *= GROWTH
        return found._replace(horizon=low if low > span.low else None)


class _Search:
    """One search."""

    def __init__(self, service: SearchService, user_id: str, wanted: Wanted) -> None:
        self._user_id = user_id
        self._wanted = wanted
        self._redis = service.unpersisted
        self._rows = rows = service.rows
        self._archive = archive = service.archive
        self._is_postgres_complete = service.lease.current().postgres_complete
        self._reading = Reading()
        self._shown: set[Tier] = set()
        self._log = Unpersisted({}, {})
        self._waiting: list[str] | None = None
        self._all_rows = _Stride(
            FIRST_ROWS,
            partial(rows.floor, user_id, wanted),
            partial(rows.candidates, user_id, wanted),
        )
        self._all_archived = _Stride(
            FIRST_ARCHIVED, archive.floor, partial(archive.candidates, user_id, wanted)
        )

    def run(self, limit: int, high: str) -> SearchHits:
        """Span by span, until there are enough, or no more, or the time is over."""
        deadline = time.monotonic() + SEARCH_SECONDS
        # In the order of the data: what has left the one by then is in the next.
        self._log = self._reading.ask("redis", lambda: self._redis.of(self._user_id)) or self._log
        self._waiting = self._reading.ask("postgresql", lambda: self._rows.waiting(self._user_id))
        hits: list[Hit] = []
        count = max(FIRST_CANDIDATES, limit + 1)
        following: str | None = high
        while following is not None and len(hits) <= limit:
            found, horizon = self._candidates(SearchSpan(self._wanted.low, following, count))
            matching, following = self._matching(found, horizon, limit + 1 - len(hits), deadline)
            hits += matching
            count = min(GROWTH * count, MOST_CANDIDATES)
            if time.monotonic() >= deadline:
                break
        if {"redis", "postgresql", "clickhouse"} <= set(self._reading.down):
            raise self._reading.failure()
        shown = [*first_page(hits[:limit], lambda hit: codec.size_of(hit.message))]
        if len(hits) > len(shown):
            following = shown[-1].message.id
        source = source_of(self._shown) if shown else self._reading.source
        warning: Caveat | None = self._reading.warning
        if not self._reading.down and not self._log.is_whole:
            warning = "incomplete_unpersisted_messages"
        return SearchHits(shown, following, source, warning)

    def _candidates(self, span: SearchSpan) -> tuple[_Versions, str | None]:
        """Candidates of each tier, and down to which id there are no others."""
        # PostgreSQL first: what leaves the outbox meanwhile is in ClickHouse by then.
        committed = self._reading.ask("postgresql", partial(self._committed, span))
        archived = self._reading.ask("clickhouse", partial(self._all_archived.take, span))
        if archived is None and self._waiting is not None:
            self._waiting = None
            return self._candidates(span)
        given = [committed or NOTHING, archived or NOTHING]
        found = _Versions()
        found.take(given[0].messages, "postgresql")
        found.take(given[1].messages, "clickhouse")
        hot = self._log.messages.values()
        found.take((one for one in hot if span.low < one.id < span.high), "redis")
        return found, max((one.horizon for one in given if one.horizon), default=None)

    def _committed(self, span: SearchSpan) -> Matches:
        """What PostgreSQL has and ClickHouse may not; all that it has where ClickHouse is out or
        far behind."""
        if self._waiting is None:
            return self._all_rows.take(span)
        if not self._waiting:
            return NOTHING
        return self._rows.candidates(self._user_id, self._wanted, span, self._waiting)

    def _matching(
        self, found: _Versions, horizon: str | None, wanted: int, deadline: float
    ) -> tuple[list[Hit], str | None]:
        """What of the candidates truly matches, newest first, and below which id to go on, which is
        the horizon unless there were enough or the time was over before: long texts take long."""
        whole = _Versions(
            {name: one for name, one in found.items() if horizon is None or name >= horizon}
        )
        if not whole:
            return [], horizon
        marks = self._newer_and_marks(whole)
        hits: list[Hit] = []
        last = ""
        for name in sorted(whole, reverse=True):
            if last and (len(hits) >= wanted or time.monotonic() >= deadline):
                return hits, last
            last = name
            message, tier = whole[name]
            if name <= marks.get(message.thread_id, ids.LOWEST):
                continue
            highlights = self._wanted.highlights(message)
            if highlights is not None:
                hits.append(Hit(message, highlights))
                self._shown.add(tier)
        return hits, horizon

    def _newer_and_marks(self, found: _Versions) -> dict[str, str]:
        """Puts in newer versions that PostgreSQL has of what others found, or Redis without it.

        Gives up to which id each thread is deleted.
        """
        ask, user_id = self._reading.ask, self._user_id

        def redis_knows() -> Known:
            return Known(self._redis.copies(found).values(), self._redis.marks(user_id, threads))

        if not self._is_postgres_complete and (others := found.besides("clickhouse")):
            # What was changed there while nobody else could take it is known nowhere else.
            archived = ask("clickhouse", lambda: self._archive.known(user_id, others))
            found.take(archived or (), "clickhouse")
        threads = {message.thread_id for message, _ in found.values()}
        unsure = found.besides("postgresql")
        known = ask("postgresql", lambda: self._rows.known(user_id, unsure, threads))
        if known is None:
            known = ask("redis", redis_knows) or Known((), {})
            found.take(known.versions, "redis")
        else:
            found.take(known.versions, "postgresql")
        both = known.marks, self._log.marks
        return {name: max(one.get(name, ids.LOWEST) for one in both) for name in threads}
