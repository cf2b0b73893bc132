"""Finds messages in all tiers as one list, newest first by id.

The log in Redis is read first, for what is acknowledged and not committed. Then PostgreSQL and,
below the archive boundary, ClickHouse give candidates by their indexes, span by span from the
newest down. Of every candidate the newest version that any tier knows is looked at, by the same
rules whoever gave it: an index may give too much and never too little. A tier that does not answer
is left out and named in `warning`.
"""

import time
from collections.abc import Iterable

from models import ids
from models.caveats import warning_of
from models.message import Caveat, Message, Source, Tier
from storage.availability.lease import Completeness, Lease
from storage.errors import NoTierAvailable, TierUnavailable
from storage.redis.unpersisted import Unpersisted, UnpersistedWrites
from storage.search.clickhouse import MOST_SECONDS, SearchArchive
from storage.search.postgres import SearchRows
from storage.search.query import Hit, SearchHits, SearchSpan, Wanted
from storage.telemetry.instruments import Instruments

LOOK_SECONDS = 1.0
"""After this a page is given as short as it is, with a cursor to go on from."""

FIRST_CANDIDATES = 64
MOST_CANDIDATES = 2_000
"""Of one tier at once: few at first, since mostly they do, then more and more."""

FIRST_ROWS = 1_000_000
"""Of ClickHouse that are looked through at first."""

GROWTH = 4

QUICK_SECONDS = MOST_SECONDS / (2 * GROWTH)
"""Only what was looked through as fast is followed by more: ClickHouse gives up what takes long."""


class SearchService:
    """The verb of search over the tiers."""

    def __init__(
        self,
        unpersisted: UnpersistedWrites,
        rows: SearchRows,
        archive: SearchArchive,
        lease: Lease,
        instruments: Instruments,
    ) -> None:
        self._instruments = instruments
        self._unpersisted = unpersisted
        self._rows = rows
        self._archive = archive
        self._lease = lease

    def search(self, user_id: str, wanted: Wanted, *, limit: int, cursor: str | None) -> SearchHits:
        """Up to `limit` of a user's messages that match, newest first, below a cursor.

        Raises `TierUnavailable` only when no tier answers.
        """
        started = time.perf_counter()
        look = _Look(
            user_id, wanted, self._unpersisted, self._rows, self._archive, self._lease.current()
        )
        found = look.run(limit, min(cursor or ids.HIGHEST, wanted.high))
        self._instruments.read(found.source, time.perf_counter() - started)
        return found


class _Look:
    """One search."""

    def __init__(
        self,
        user_id: str,
        wanted: Wanted,
        unpersisted: UnpersistedWrites,
        rows: SearchRows,
        archive: SearchArchive,
        standing: Completeness,
    ) -> None:
        self._user_id = user_id
        self._wanted = wanted
        self._redis = unpersisted
        self._rows = rows
        self._archive = archive
        self._standing = standing
        self._down: dict[str, TierUnavailable] = {}
        self._asked: set[Tier] = set()
        self._shown: set[Tier] = set()
        self._log = Unpersisted({}, {})
        self._rows_at_once = FIRST_ROWS

    def run(self, limit: int, high: str) -> SearchHits:
        """SearchSpan by span, until there are enough, or no more, or the time is over."""
        deadline = time.monotonic() + LOOK_SECONDS
        self._log = self._read_log()
        hits: list[Hit] = []
        count = max(FIRST_CANDIDATES, limit + 1)
        following: str | None = high
        while following is not None and len(hits) <= limit:
            span = SearchSpan(self._wanted.low, following, count)
            found, horizon = self._step(span)
            matching, following = self._matching(found, horizon, limit + 1 - len(hits), deadline)
            hits += matching
            count = min(GROWTH * count, MOST_CANDIDATES)
            if time.monotonic() >= deadline:
                break
        if {"redis", "postgresql", "clickhouse"} <= set(self._down):
            raise NoTierAvailable(list(self._down.values()))
        if len(hits) > limit:
            following = hits[limit - 1].message.id
        shown = hits[:limit]
        return SearchHits(shown, following, self._source(shown), self._warning())

    def _read_log(self) -> Unpersisted:
        try:
            found = self._redis.of(self._user_id)
        except TierUnavailable as error:
            self._down["redis"] = error
            return self._log
        self._asked.add("redis")
        return found

    def _step(self, span: SearchSpan) -> tuple[dict[str, tuple[Message, Tier]], str | None]:
        """The newest known versions of candidates by id, without those that went with their
        threads, and down to which id there are no others."""
        found: dict[str, tuple[Message, Tier]] = {}
        horizons: list[str] = []
        boundary = self._ask_postgres(span, found, horizons)
        if span.low < boundary and (not horizons or horizons[0] < boundary):
            self._ask_clickhouse(span._replace(high=min(span.high, boundary)), found, horizons)
        horizon = max(horizons, default=None)
        for message in self._log.messages.values():
            if span.low < message.id < span.high:
                _take(found, message, "redis")
        return found, horizon

    def _ask_postgres(
        self, span: SearchSpan, found: dict[str, tuple[Message, Tier]], horizons: list[str]
    ) -> str:
        """Gives the id below which ClickHouse is to be asked too."""
        if "postgresql" in self._down:
            return ids.HIGHEST
        try:
            candidates = self._rows.candidates(self._user_id, self._wanted, span)
        except TierUnavailable as error:
            self._down["postgresql"] = error
            return ids.HIGHEST
        self._asked.add("postgresql")
        for message in candidates.messages:
            _take(found, message, "postgresql")
        if candidates.horizon is not None:
            horizons.append(candidates.horizon)
        return candidates.boundary if self._standing.postgres_complete else ids.HIGHEST

    def _ask_clickhouse(
        self, span: SearchSpan, found: dict[str, tuple[Message, Tier]], horizons: list[str]
    ) -> None:
        if "clickhouse" in self._down:
            return
        started = time.monotonic()
        try:
            floor = max(span.low, self._archive.floor(span.high, self._rows_at_once))
            below = span._replace(low=floor)
            archived = self._archive.candidates(self._user_id, self._wanted, below)
        except TierUnavailable as error:
            self._down["clickhouse"] = error
            return
        self._asked.add("clickhouse")
        for message in archived.messages:
            _take(found, message, "clickhouse")
        if archived.horizon is not None:
            horizons.append(archived.horizon)
            return
        if time.monotonic() - started < QUICK_SECONDS:
            self._rows_at_once *= GROWTH
        if floor > span.low:
            horizons.append(floor)

    def _matching(
        self,
        found: dict[str, tuple[Message, Tier]],
        horizon: str | None,
        wanted: int,
        deadline: float,
    ) -> tuple[list[Hit], str | None]:
        """What of the candidates truly matches, newest first, and below which id to go on, which is
        the horizon unless there were enough or the time was over before: long texts take long."""
        whole = {name: one for name, one in found.items() if horizon is None or name >= horizon}
        if not whole:
            return [], horizon
        marks = self._newer_and_marks(whole)
        hits: list[Hit] = []
        looked = ""
        for name in sorted(whole, reverse=True):
            if looked and (len(hits) >= wanted or time.monotonic() >= deadline):
                return hits, looked
            looked = name
            message, tier = whole[name]
            if name <= marks.get(message.thread_id, ids.LOWEST):
                continue
            highlights = self._wanted.highlights(message)
            if highlights is not None:
                hits.append(Hit(message, highlights))
                self._shown.add(tier)
        return hits, horizon

    def _newer_and_marks(self, found: dict[str, tuple[Message, Tier]]) -> dict[str, str]:
        """Puts in newer versions that PostgreSQL has of what others found, or Redis without it.

        Gives up to which id each thread is deleted.
        """
        if not self._standing.postgres_complete:
            self._put_in_of_clickhouse(found)
        threads = {message.thread_id for message, _ in found.values()}
        marks = {name: self._log.marks.get(name, ids.LOWEST) for name in threads}
        others = [name for name, (_, tier) in found.items() if tier != "postgresql"]
        if "postgresql" not in self._down:
            try:
                known = self._rows.known(self._user_id, others, threads)
            except TierUnavailable as error:
                self._down["postgresql"] = error
            else:
                for message in known.messages.values():
                    _take(found, message, "postgresql")
                _raise_marks(marks, known.marks)
                return {name: max(mark, known.erased_through) for name, mark in marks.items()}
        if "redis" not in self._down:
            try:
                for message in self._redis.copies(found).values():
                    _take(found, message, "redis")
                _raise_marks(marks, self._redis.marks(self._user_id, threads))
            except TierUnavailable as error:
                self._down["redis"] = error
        return marks

    def _put_in_of_clickhouse(self, found: dict[str, tuple[Message, Tier]]) -> None:
        """What was changed there while nobody else could take it is known nowhere else."""
        others = [name for name, (_, tier) in found.items() if tier != "clickhouse"]
        if "clickhouse" in self._down or not others:
            return
        try:
            for message in self._archive.known(self._user_id, others):
                _take(found, message, "clickhouse")
        except TierUnavailable as error:
            self._down["clickhouse"] = error

    def _source(self, shown: Iterable[Hit]) -> Source:
        tiers = self._shown if shown else self._asked
        return next(iter(tiers)) if len(tiers) == 1 else "mixed"

    def _warning(self) -> Caveat | None:
        if not self._down and not self._log.is_whole:
            return "incomplete_unpersisted_messages"
        return warning_of(set(self._down))


def _take(found: dict[str, tuple[Message, Tier]], message: Message, tier: Tier) -> None:
    known = found.get(message.id)
    if known is None or known[0].version < message.version:
        found[message.id] = message, tier


def _raise_marks(marks: dict[str, str], others: dict[str, str]) -> None:
    for name, mark in others.items():
        marks[name] = max(mark, marks.get(name, ids.LOWEST))
