"""What ClickHouse finds by its text index: the newest version of each message, newest first."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select, text

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from models.search_terms import Terms
from storage.clickhouse.driver import ClickHouse, literal
from storage.clickhouse.fingerprints import MOST_NAMED, named
from storage.clickhouse.rows import COLUMNS, LATEST_US, NEWEST_BY_MONTH, message_of, newest
from storage.resilience.bites import batches
from storage.resilience.breaker import Breaker
from storage.search.query import Matches, SearchSpan, Wanted

MOST_SECONDS = 1.5
"""Of one query; after that ClickHouse itself ends it, which is no outage."""

MONTHS_SECONDS = 60.0
"""How long the sizes of months are cached: they only say how far to search at once."""

_LIMITED = f"SETTINGS max_execution_time = {MOST_SECONDS}"
# A version that the index finds counts only if it is the newest: exactly that is asked for.
_NEWEST = (
    f"{NEWEST_BY_MONTH}, max_execution_time = {MOST_SECONDS},"
    " use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1"
)
_MONTHS = (
    "SELECT toUInt32(partition) AS month, sum(rows) AS size FROM system.parts WHERE active"
    " AND database = currentDatabase() AND table = 'messages' GROUP BY month ORDER BY month DESC"
)


class SearchArchive:
    """The read verbs of search in ClickHouse. Errors leave as the tier's."""

    def __init__(self, server: ClickHouse, breaker: Breaker) -> None:
        self._server = server
        self._breaker = breaker
        self._lock = threading.Lock()
        self._months: list[tuple[int, int]] = []
        self._months_until = 0.0

    def floor(self, span: SearchSpan, rows: int) -> str:
        """The id that about so many rows lie above, and below the span's end; the lowest id if
        there are fewer."""
        left = rows
        for month, count in self._sizes():
            first = ids.lowest(f"{month // 100:04d}-{month % 100:02d}-01T00:00:00.000000Z")
            if first < span.high:
                left -= count
                if left <= 0:
                    return first
        return ids.LOWEST

    def candidates(self, user_id: str, wanted: Wanted, span: SearchSpan) -> Matches:
        """The newest live messages of a span that have the words."""
        conditions = [*_range(span), *_words(wanted.terms)]
        if wanted.thread_id is not None:
            conditions.append(f"thread_id = {literal(wanted.thread_id)}")
        if wanted.role is not None:
            conditions.append(f"role = {literal(wanted.role)}")
        query = (
            select(*COLUMNS)
            .where(messages.c.user_id == user_id, *map(text, conditions))
            .order_by(text("toString(messages.id) DESC"))
            .limit(span.at_most)
            .suffix_with(_NEWEST)
        )
        found = self._messages(query)
        return Matches(found, found[-1].id if len(found) >= span.at_most else None)

    def known(self, user_id: str, message_ids: Sequence[str]) -> list[Message]:
        """The newest versions of messages that other tiers found, tombstones included."""
        of_user = messages.c.user_id == user_id
        return [
            message
            for batch in batches(message_ids, MOST_NAMED)
            for message in self._messages(newest(of_user, text(named(batch)), settings=_LIMITED))
        ]

    def _messages(self, query: Select[Any]) -> list[Message]:
        with self._breaker.guard(is_bulk=True):
            return list(map(message_of, self._server.rows(query)))

    def _sizes(self) -> list[tuple[int, int]]:
        """How many rows the months have (as 202611), newest first."""
        with self._lock:
            if time.monotonic() >= self._months_until:
                with self._breaker.guard():
                    rows = self._server.rows(_MONTHS)
                self._months = [(int(row.month), int(row.size)) for row in rows]
                self._months_until = time.monotonic() + MONTHS_SECONDS
            return self._months


def _range(span: SearchSpan) -> list[str]:
    """Times, which select months and granules, and ids, which are exact."""
    conditions = []
    if span.low != ids.LOWEST:
        conditions.append(f"messages.created_at >= {_millisecond(span.low)}")
        conditions.append(f"toString(messages.id) > '{span.low}'")
    if span.high != ids.HIGHEST:
        following = f"{_millisecond(span.high)} + INTERVAL 1 MILLISECOND"
        conditions.append(f"messages.created_at < {following}")
        conditions.append(f"toString(messages.id) < '{span.high}'")
    return conditions


def _millisecond(message_id: str) -> str:
    moment_ms = min(ids.time_us_of(message_id), LATEST_US - 1_000) // 1_000
    return f"fromUnixTimestamp64Milli(toInt64({moment_ms}), 'UTC')"


def _words(terms: Terms) -> list[str]:
    conditions = []
    if terms.whole:
        named = ", ".join(f"'{term}'" for term in terms.whole)
        conditions.append(f"hasAllTokens(words, [{named}])")
    for term in terms.beginnings:
        conditions.append(f"arrayExists(word -> startsWith(word, '{term}'), words)")
    for pattern in terms.patterns:
        fits = f"match(lower(content), '{pattern}')"
        conditions.append(f"(length(content) <> lengthUTF8(content) OR {fits})")
    return conditions
