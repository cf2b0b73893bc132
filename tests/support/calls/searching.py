"""Searches of one's own, and what they must find."""

from collections.abc import Sequence
from typing import Any

from models.message import Message
from models.search import parse
from storage.search.query import SearchHits, Wanted
from support.data.moving import archived
from support.data.samples import CLOCK, message
from wiring.process import Services


def find(own: Services, user: str, query: str, *, limit: int = 100, **fields: Any) -> list[str]:
    """The ids found, newest first, after a check of what comes with them.

    A search that would take too long gives what it has, and where to go on.
    """
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = found(own, user, query, limit=limit - len(names), cursor=cursor, **fields)
        names += [hit.message.id for hit in page.hits]
        cursor = page.next_cursor
        if cursor is None or len(names) >= limit:
            return names


def found(
    own: Services,
    user: str,
    query: str,
    *,
    limit: int = 100,
    cursor: str | None = None,
    **fields: Any,
) -> SearchHits:
    """A page of what is found, after a check of what comes with it."""
    page = own.search.search(user, Wanted(parse(query), **fields), limit=limit, cursor=cursor)
    for hit in page.hits:
        assert hit.message.user_id == user
        assert hit.highlights == parse(query).highlights(hit.message.content)
    return page


def spaced(user: str, *said: tuple[str, str], **fields: Any) -> list[Message]:
    """Messages of a thread and a text each, a millisecond apart: ids of one are in no order."""
    start_us = CLOCK.now_us() - len(said) * 1_000
    return [
        message(user, thread, content, time_us=start_us + number * 1_000, **fields)
        for number, (thread, content) in enumerate(said)
    ]


def expected(made: Sequence[Message], query: str) -> list[str]:
    return sorted((one.id for one in made if parse(query).matches(one.content)), reverse=True)


def moved(services: Services, made: Sequence[Message]) -> Any:
    """Leaves messages to ClickHouse alone."""
    return archived(services, [{"id": one.id, "user_id": one.user_id, "thread_id": one.thread_id}
                               for one in made])  # fmt: skip
