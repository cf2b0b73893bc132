"""ClickHouse: every message for good, and the only place of those that are archived.

Queries name the user first, which is also how the table is ordered. Within a thread the order by
time and id is the order by id: two ids of one microsecond differ only in their second half, by
which ClickHouse compares a UUID first. Ids of different threads are never compared there.
"""

from typing import Any

import msgspec
from sqlalchemy import Row, func, select, text, tuple_

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.clickhouse_driver import ClickHouse, translated
from storage.errors import TierRejected

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
    func.toString(messages.c.deleted_at).label("deleted_at"),
    messages.c.content_hash,
    func.toString(messages.c.archived_at).label("archived_at"),
)

_LATEST_US = 10_413_791_999_999_999
"""The last microsecond of 2299, where DateTime64 ends; no message has an id beyond."""

_NEWEST = "SETTINGS final = 1"
"""Of several versions of an id only the newest, and no tombstones."""


class ClickHouseTier:
    """The read verbs of the ClickHouse tier."""

    def __init__(self, server: ClickHouse) -> None:
        self._server = server

    def message(self, user_id: str, message_id: str) -> tuple[Message, str] | None:
        """The newest version of a message, tombstones included, with the time it arrived."""
        found = self.versions(user_id, message_id)
        return found[0] if found else None

    def versions(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        """Every version of a message that is still kept, newest first, with arrival times."""
        query = (
            select(*_COLUMNS)
            .where(
                messages.c.user_id == user_id,
                # The time makes it one partition and a few granules.
                messages.c.created_at == _moment(message_id),
                messages.c.id == func.toUUID(message_id),
            )
            .order_by(messages.c.version.desc())
        )
        with translated(), self._server.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [(_message_of(row), _rfc3339(row.archived_at)) for row in rows]

    def page(
        self, user_id: str, thread_id: str, low: str, high: str, order: str, count: int
    ) -> list[Message]:
        """Live messages of a thread with `low` < id < `high`, at most `count` from that end."""
        position = tuple_(messages.c.created_at, messages.c.id)
        conditions = [messages.c.user_id == user_id, messages.c.thread_id == thread_id]
        if low != ids.LOWEST:
            conditions.append(position > tuple_(_moment(low), func.toUUID(low)))
        if high != ids.HIGHEST:
            conditions.append(position < tuple_(_moment(high), func.toUUID(high)))
        sort = (
            (messages.c.created_at, messages.c.id)
            if order == "asc"
            else (messages.c.created_at.desc(), messages.c.id.desc())
        )
        query = select(*_COLUMNS).where(*conditions).order_by(*sort).limit(count)
        with translated(), self._server.engine.connect() as connection:
            rows = connection.execute(query.suffix_with(_NEWEST)).all()
        return [_message_of(row) for row in rows]

    def count(self) -> int:
        """How many live messages there are."""
        query = select(func.count()).select_from(messages).suffix_with(_NEWEST)
        with translated(), self._server.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def ping(self) -> None:
        """Raises `TierUnavailable` if ClickHouse does not answer."""
        with translated(), self._server.engine.connect() as connection:
            connection.execute(text("SELECT 1")).scalar_one()


def _moment(message_id: str) -> Any:
    time = ids.timestamp(min(ids.time_us_of(message_id), _LATEST_US))
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
        deleted_at=_rfc3339(row.deleted_at) if row.deleted_at else None,
        content_hash=row.content_hash,
    )


def _rfc3339(moment: str) -> str:
    return f"{moment.replace(' ', 'T')}Z"
