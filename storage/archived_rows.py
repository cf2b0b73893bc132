"""All of ClickHouse's messages in order, a page at a time: the archive's half of an export.

Pages go by key, so that each is one bounded answer, and none holds anything open in between.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Row, func, select, tuple_

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.clickhouse_driver import ClickHouse, translated
from storage.errors import TierRejected

PAGE_MESSAGES = 10_000

_COLUMNS = (
    messages.c.id,
    messages.c.user_id,
    messages.c.thread_id,
    messages.c.role,
    messages.c.content,
    messages.c.metadata,
    # As text, because the driver's own times lose their zone.
    func.toString(messages.c.created_at).label("created_at"),
    func.toString(messages.c.updated_at).label("updated_at"),
    messages.c.version,
    messages.c.content_hash,
)
_NEWEST = "SETTINGS final = 1"


class Selection(NamedTuple):
    """Which messages: of one user, of one thread's name, of both, or all."""

    user_id: str | None = None
    thread_id: str | None = None


def archived_messages(
    server: ClickHouse,
    selection: Selection,
    below: str = ids.HIGHEST,
    page_messages: int = PAGE_MESSAGES,
) -> Iterator[Message]:
    """Live messages with ids below a boundary, newest versions, by user, thread and id.

    A few at the boundary itself may be given too: ClickHouse compares times, not ids.
    """
    conditions: list[ColumnElement[bool]] = []
    if selection.user_id is not None:
        conditions.append(messages.c.user_id == selection.user_id)
    if selection.thread_id is not None:
        conditions.append(messages.c.thread_id == selection.thread_id)
    if below != ids.HIGHEST:
        conditions.append(messages.c.created_at <= _moment(below))
    key = (messages.c.user_id, messages.c.thread_id, messages.c.created_at, messages.c.id)
    query = select(*_COLUMNS).order_by(*key).limit(page_messages)
    last: Message | None = None
    while True:
        page = query.where(*conditions, *_after(last, key))
        with translated(), server.engine.connect() as connection:
            rows = connection.execute(page.suffix_with(_NEWEST)).all()
        for row in rows:
            last = _message_of(row)
            yield last
        if len(rows) < page_messages:
            return


def _after(last: Message | None, key: tuple[Any, ...]) -> list[ColumnElement[bool]]:
    if last is None:
        return []
    position: tuple[Any, ...] = (
        last.user_id,
        last.thread_id,
        _moment(last.id),
        func.toUUID(last.id),
    )
    return [tuple_(*key) > tuple_(*position)]


def _moment(message_id: str) -> Any:
    time = ids.timestamp(ids.time_us_of(message_id))
    return func.toDateTime64(time.rstrip("Z").replace("T", " "), 6, "UTC")


def _message_of(row: Row[Any]) -> Message:
    try:
        metadata = msgspec.json.decode(row.metadata, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise TierRejected("clickhouse", f"metadata of {row.id} is not an object") from error
    return Message(
        version=int(row.version),
        id=str(row.id),
        thread_id=row.thread_id,
        user_id=row.user_id,
        role=row.role,
        content=row.content,
        metadata=metadata,
        created_at=_rfc3339(row.created_at),
        updated_at=_rfc3339(row.updated_at),
        content_hash=row.content_hash,
    )


def _rfc3339(moment: str) -> str:
    return f"{moment.replace(' ', 'T')}Z"
