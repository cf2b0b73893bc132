"""What is looked for, and what is found."""

from typing import NamedTuple

from models import ids
from models.message import Caveat, Message, Source
from models.search import Query
from models.search_terms import Terms, terms_of


class Wanted(NamedTuple):
    """A query and its filters. `since` and `until` are RFC 3339 in UTC with six digits; a message
    of the moment `since` is meant, one of the moment `until` is not."""

    query: Query
    thread_id: str | None = None
    role: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def terms(self) -> Terms:
        """What indexes are asked for."""
        return terms_of(self.query)

    @property
    def low(self) -> str:
        """An id below every one that is meant."""
        if self.since is None:
            return ids.LOWEST
        before_us = ids.time_us_of(ids.lowest(self.since)) - 1_000
        return ids.highest(before_us) if before_us >= 0 else ids.LOWEST

    @property
    def high(self) -> str:
        """An id that no message has which is meant, nor has one above."""
        if self.until is None:
            return ids.HIGHEST
        return ids.highest(ids.time_us_of(ids.lowest(self.until)))

    def highlights(self, message: Message) -> list[tuple[int, int]] | None:
        """Where a message has what is looked for; None for one that is not meant."""
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
    """Part of all there is: `low` < id < `high`, so many from its newest end."""

    low: str
    high: str
    at_most: int


class Hit(NamedTuple):
    """A message that was found, and where in it, in characters of its content."""

    message: Message
    highlights: list[tuple[int, int]]


class SearchHits(NamedTuple):
    """Hits, newest first. `next_cursor` is None at the end; before it a page may be short."""

    hits: list[Hit]
    next_cursor: str | None
    source: Source
    warning: Caveat | None
