"""Rows of ClickHouse's `messages`: what is asked for, and rows as messages."""

from typing import Any

import msgspec
from sqlalchemy import Row, func

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.errors import TierRejected

COLUMNS = (
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

NEWEST = "SETTINGS final = 1"
"""Of several versions of an id only the newest, and no tombstones."""

LATEST_US = 10_413_791_999_999_999
"""The last microsecond of 2299, where DateTime64 ends; no message has an id beyond."""


def moment_of(message_id: str) -> Any:
    """The time of an id as ClickHouse compares it."""
    time = ids.timestamp(min(ids.time_us_of(message_id), LATEST_US))
    return func.toDateTime64(time.rstrip("Z").replace("T", " "), 6, "UTC")


def message_of(row: Row[Any]) -> Message:
    """A message from a row of `COLUMNS`. Raises `TierRejected` for metadata that is none."""
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
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
        deleted_at=rfc3339(row.deleted_at) if row.deleted_at else None,
        content_hash=row.content_hash,
    )


def rfc3339(moment: str) -> str:
    """RFC 3339 from ClickHouse's own text of a time in UTC."""
    return f"{moment.replace(' ', 'T')}Z"
