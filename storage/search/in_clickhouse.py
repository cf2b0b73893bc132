"""What ClickHouse finds: by its text index, months newest first, the newest version of each.

The index is asked for any version that has the words, without `FINAL`; whichever version is the
newest comes back for what was found, tombstones included.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select, text

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from models.search_terms import Terms
from storage.breakers import Breaker
from storage.clickhouse_driver import ClickHouse, literal, translated
from storage.clickhouse_rows import COLUMNS, LATEST_US, message_of
from storage.fingerprints import MOST_NAMED, named
from storage.search.wanted import Span, Wanted

MOST_SECONDS = 1.5
"""One query; after that ClickHouse itself gives it up, which is no outage."""

_MONTHS = (
    "SELECT DISTINCT toUInt32(partition) AS month FROM system.parts WHERE active"
    " AND database = currentDatabase() AND table = 'messages' ORDER BY month DESC"
)


class Archived(NamedTuple):
    """Newest versions of messages that may match, newest first, and the id below which there may
    be more, None if there are not."""

    messages: list[Message]
    horizon: str | None


class SearchArchive:
    """The read verb of search in ClickHouse. Errors leave as the tier's."""

    def __init__(self, server: ClickHouse, breaker: Breaker) -> None:
        self._server = server
        self._breaker = breaker

    def months(self) -> list[int]:
        """The months (as 202611) of which there is something, newest first."""
        with self._breaker.guard(), translated(), self._server.engine.connect() as connection:
            return [int(row.month) for row in connection.exec_driver_sql(_MONTHS)]

    def candidates(
        self, user_id: str, wanted: Wanted, span: Span, months: Sequence[int]
    ) -> Archived:
        """The newest messages of a span within some months that have the words."""
        conditions = [
            f"user_id = {literal(user_id)}",
            f"toYYYYMM(created_at) BETWEEN {min(months)} AND {max(months)}",
            *_range(span),
            *_words(wanted.terms),
        ]
        if wanted.thread_id is not None:
            conditions.append(f"thread_id = {literal(wanted.thread_id)}")
        if wanted.role is not None:
            conditions.append(f"role = {literal(wanted.role)}")
        candidates = (
            "(thread_id, created_at, id) IN (SELECT thread_id, created_at, id FROM messages"  # noqa: S608
            f" WHERE {' AND '.join(conditions)}"
            f" ORDER BY toString(id) DESC LIMIT 1 BY id LIMIT {span.at_most:d})"
        )
        found = sorted(self._newest(user_id, candidates), key=lambda one: one.id, reverse=True)
        return Archived(found, found[-1].id if len(found) >= span.at_most else None)

    def known(self, user_id: str, message_ids: Sequence[str]) -> list[Message]:
        """The newest versions of messages that others found, tombstones included."""
        return [
            message
            for at in range(0, len(message_ids), MOST_NAMED)
            for message in self._newest(user_id, named(message_ids[at : at + MOST_NAMED]))
        ]

    def _newest(self, user_id: str, condition: str) -> list[Message]:
        query = (
            select(*COLUMNS)
            .where(messages.c.user_id == user_id, text(condition))
            .order_by(messages.c.version.desc(), messages.c.archived_at.desc())
            .suffix_with(f"LIMIT 1 BY id SETTINGS max_execution_time = {MOST_SECONDS}")
        )
        guard = self._breaker.guard(is_bulk=True)
        with guard, translated(), self._server.engine.connect() as connection:
            return list(map(message_of, connection.execute(query)))


def _range(span: Span) -> list[str]:
    """Times to find the months and granules by, and ids for what times do not tell."""
    conditions = []
    if span.low != ids.LOWEST:
        conditions += [f"created_at >= {_millisecond(span.low)}", f"toString(id) > '{span.low}'"]
    if span.high != ids.HIGHEST:
        following = f"{_millisecond(span.high)} + INTERVAL 1 MILLISECOND"
        conditions += [f"created_at < {following}", f"toString(id) < '{span.high}'"]
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
    return conditions
