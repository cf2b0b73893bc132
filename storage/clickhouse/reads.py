"""The reads of ClickHouse. Queries name the user first, by which the table is ordered. Within a
thread the order by time and id is the order by id; ids of different threads are never compared
there."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, Subquery, and_, func, not_, or_, select, tuple_

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.clickhouse import thread_links
from storage.clickhouse.driver import ClickHouse, batches
from storage.clickhouse.rows import (
    COLUMNS,
    NEWEST,
    NEWEST_FIRST,
    message_of,
    moment_of,
    page_of,
    rfc3339,
)
from storage.clickhouse.thread_links import ThreadLink
from storage.resilience.bites import LARGE_PAGE, PAGE_BYTES
from storage.resilience.breaker import Breaker


class ArchivedPage(NamedTuple):
    """Messages of a thread in order. `is_cut`: more of them would have been too many bytes."""

    messages: list[Message]
    is_cut: bool


class ClickHouseTier:
    """The read verbs of the ClickHouse tier."""

    def __init__(self, server: ClickHouse, breaker: Breaker) -> None:
        self._server = server
        self._breaker = breaker

    def message(self, user_id: str, message_id: str) -> tuple[Message, str] | None:
        """The newest version of a message, tombstones included, with the time it arrived."""
        found = self.versions(user_id, message_id)
        return found[0] if found else None

    def versions(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        """Every version of a message that is still kept, newest first, with arrival times."""
        query = (
            select(*COLUMNS)
            .where(
                messages.c.user_id == user_id,
                # The time makes it one partition and a few granules.
                messages.c.created_at == moment_of(message_id),
                messages.c.id == func.toUUID(message_id),
            )
            .order_by(*NEWEST_FIRST)
        )
        return [(message_of(row), rfc3339(row.archived_at)) for row in self._rows(query)]

    def owner_of(self, message_id: str) -> str | None:
        """Whose a message is, tombstones included."""
        query = (
            select(messages.c.user_id)
            .where(
                messages.c.created_at == moment_of(message_id),
                messages.c.id == func.toUUID(message_id),
            )
            .limit(1)
        )
        return next((row.user_id for row in self._rows(query)), None)

    def links(self, user_id: str, thread_id: str, message_id: str) -> list[ThreadLink]:
        """The links of a message in its thread's hash chain, the newest first."""
        with self._breaker.guard():
            return thread_links.of_message(self._server, user_id, thread_id, message_id)

    def page(
        self,
        user_id: str,
        thread_id: str,
        low: str,
        high: str,
        order: str,
        count: int,
        *,
        tombstones: bool = False,
    ) -> ArchivedPage:
        """Messages of a thread with `low` < id < `high`, at most `count` from that end, with
        tombstones if asked for, and no more once there are over `PAGE_BYTES`."""
        position = tuple_(messages.c.created_at, messages.c.id)
        conditions = [messages.c.user_id == user_id, messages.c.thread_id == thread_id]
        if low != ids.LOWEST:
            conditions.append(position > tuple_(moment_of(low), func.toUUID(low)))
        if high != ids.HIGHEST:
            conditions.append(position < tuple_(moment_of(high), func.toUUID(high)))
        sort: list[Any] = [messages.c.created_at, messages.c.id]
        if order == "desc":
            sort = [column.desc() for column in sort]
        query = _within_bytes(page_of(conditions, sort, count, tombstones=tombstones), order)
        rows = self._rows(query, is_bulk=count > LARGE_PAGE)
        is_cut = bool(rows) and int(rows[-1].through) > PAGE_BYTES
        return ArchivedPage([message_of(row) for row in rows], is_cut)

    def newest(
        self, user_id: str, marks: Mapping[str, str], below: str, characters: int
    ) -> dict[str, tuple[str, str]]:
        """The newest live message of threads, below an id and above a mark of each: its id, and
        so many characters of its content. Threads without one are left out."""
        found: dict[str, tuple[str, str]] = {}
        # Each is named twice, and once with a place in it.
        for some in batches(marks, lambda name: 2 * name + 200 * " "):
            found |= self._newest(user_id, {name: marks[name] for name in some}, below, characters)
        return found

    def _newest(
        self, user_id: str, marks: Mapping[str, str], below: str, characters: int
    ) -> dict[str, tuple[str, str]]:
        position = tuple_(messages.c.created_at, messages.c.id)
        gone = [
            and_(
                messages.c.thread_id == name, position <= tuple_(moment_of(mark), func.toUUID(mark))
            )
            for name, mark in marks.items()
            if mark != ids.LOWEST
        ]
        query = (
            select(
                messages.c.thread_id,
                func.toString(messages.c.id).label("name"),
                func.substringUTF8(messages.c.content, 1, characters).label("beginning"),
            )
            .where(
                messages.c.user_id == user_id,
                messages.c.thread_id.in_(list(marks)),
                messages.c.created_at <= moment_of(below),
                *([not_(or_(*gone))] if gone else []),
            )
            .order_by(messages.c.thread_id, messages.c.created_at.desc(), messages.c.id.desc())
            .suffix_with(f"LIMIT 1 BY thread_id {NEWEST}")
        )
        rows = self._rows(query)
        return {row.thread_id: (row.name, row.beginning) for row in rows if row.name < below}

    def ping(self) -> None:
        """Raises `TierUnavailable` if ClickHouse does not answer."""
        with self._breaker.guard():
            self._server.ping()

    def _rows(self, query: Select[Any], *, is_bulk: bool = False) -> Sequence[Row[Any]]:
        with self._breaker.guard(is_bulk=is_bulk):
            return self._server.rows(query)


def _within_bytes(query: Select[Any], order: str) -> Select[Any]:
    """The query of a page that stops with the message that exceeds `PAGE_BYTES`; `through` is how
    many bytes they are up to each."""
    page = query.subquery()
    size = func.length(page.c.content) + func.length(page.c.metadata)
    through = func.sum(size).over(order_by=_end(page, order), rows=(None, 0)).label("through")
    counted = select(page, size.label("size"), through).subquery()
    fits = counted.c.through - counted.c.size <= PAGE_BYTES
    return select(counted).where(fits).order_by(*_end(counted, order))


def _end(page: Subquery, order: str) -> list[Any]:
    position: list[Any] = [page.c.created_at, page.c.id]
    return position if order == "asc" else [column.desc() for column in position]
