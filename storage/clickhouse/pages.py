"""All of ClickHouse's messages in order, a page at a time by key: each is one bounded answer, and
nothing stays open in between."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, tuple_

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.rows import message_of, moment_of, page_of

PAGE_MESSAGES = 10_000


class Selection(NamedTuple):
    """Which messages: of one user, of one thread's name, of both, or all."""

    user_id: str | None = None
    thread_id: str | None = None


def archived_messages(
    server: ClickHouse,
    selection: Selection,
    below: str = ids.HIGHEST,
    page_messages: int = PAGE_MESSAGES,
    *,
    tombstones: bool = False,
) -> Iterator[Message]:
    """Messages with ids below a boundary, newest versions, by user, thread and id, with tombstones
    if asked for. A few at the boundary itself may be given too: ClickHouse compares times, not
    ids."""
    conditions: list[ColumnElement[bool]] = []
    if selection.user_id is not None:
        conditions.append(messages.c.user_id == selection.user_id)
    if selection.thread_id is not None:
        conditions.append(messages.c.thread_id == selection.thread_id)
    if below != ids.HIGHEST:
        conditions.append(messages.c.created_at <= moment_of(below))
    key = (messages.c.user_id, messages.c.thread_id, messages.c.created_at, messages.c.id)
    after: list[ColumnElement[bool]] = []
    while True:
        rows = server.rows(
            page_of([*conditions, *after], key, page_messages, tombstones=tombstones)
        )
        for row in rows:
            last = message_of(row)
            yield last
        if len(rows) < page_messages:
            return
        place: list[Any] = [last.user_id, last.thread_id, moment_of(last.id), func.toUUID(last.id)]
        after = [tuple_(*key) > tuple_(*place)]
