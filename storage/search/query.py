"""A search: the query with its filters, a span of ids, and the results."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from models import ids
from models.message import Caveat, Message, Source
from models.search import Query
from models.search_terms import Terms, terms_of


class Wanted(NamedTuple):
    """A query and its filters: `since` <= time < `until`, in RFC 3339 UTC with six digits."""

    query: Query
    thread_id: str | None = None
    role: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def terms(self) -> Terms:
        """The terms that indexes are searched for."""
        return terms_of(self.query)

    @property
    def low(self) -> str:
        """An id below every message that can match."""
        if self.since is None:
            return ids.LOWEST
        before_us = ids.time_us_of(ids.lowest(self.since)) - 1_000
        return ids.highest(before_us) if before_us >= 0 else ids.LOWEST

    @property
    def high(self) -> str:
        """An id above every message that can match."""
        if self.until is None:
            return ids.HIGHEST
        return ids.highest(ids.time_us_of(ids.lowest(self.until)))

    def highlights(self, message: Message) -> list[tuple[int, int]] | None:
        """Where in a message the query matches, in characters; None if it does not match."""
        if message.deleted_at is not None or not self._takes(message):
            return None
        return self.query.highlights(message.content)

    def _takes(self, message: Message) -> bool:
        return (
            (self.thread_id is None or message.thread_id == self.thread_id)
            and (self.role is None or message.role == self.role)
            and (self.since is None or message.created_at >= self.since)
            and (self.until is None or message.created_at < self.until)
        )


class SearchSpan(NamedTuple):
    """Messages with `low` < id < `high`, so many from the newest end."""

    low: str
    high: str
    at_most: int


class Matches(NamedTuple):
    """Messages that may match, newest first; and the id below which there may be more, None if
    there are not."""

    messages: list[Message]
    horizon: str | None


NOTHING = Matches([], None)


class Known(NamedTuple):
    """What a tier knows of candidates: their versions, tombstones included, and up to which id
    each of their threads is hidden."""

    versions: Iterable[Message]
    marks: Mapping[str, str]


class Hit(NamedTuple):
    """A message that matches, and where, in characters of its content."""

    message: Message
    highlights: list[tuple[int, int]]


class SearchHits(NamedTuple):
    """Hits, newest first. `next_cursor` is None at the end; a page before it may be short."""

    hits: list[Hit]
    next_cursor: str | None
    source: Source
    warning: Caveat | None
