"""Rows of ClickHouse's `messages`: what is asked for, and rows as messages."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, TextClause, func, select

from models import ids
from models.clickhouse_tables import messages
from models.message import Message
from storage.errors import TierRejected

COLUMNS = tuple(
    # Times as text, because the driver's own lose their zone.
    func.toString(column).label(column.name) if column.name.endswith("_at") else column
    for column in messages.c
    if column.name not in {"is_deleted", "words"}
)

NEWEST = "SETTINGS final = 1"
"""Of several versions of an id only the newest, and no tombstones."""

NEWEST_BY_MONTH = f"{NEWEST}, do_not_merge_across_partitions_select_final = 1"
"""Likewise, and faster: all versions of a message are in one month, so months need not be merged
with each other."""

RANK = "(version, archived_at)"
"""By which the newest of several rows of an id is found: of one version the one that came last."""

NEWEST_FIRST = (messages.c.version.desc(), messages.c.archived_at.desc())
"""The order by `RANK`, from the newest."""

LATEST_US = 10_413_791_999_999_999
"""The last microsecond of 2299, where DateTime64 ends; no message has an id beyond."""


def moment_of(message_id: str) -> Any:
    """The time of an id as ClickHouse compares it."""
    time = ids.timestamp(min(ids.time_us_of(message_id), LATEST_US))
    return func.toDateTime64(time.rstrip("Z").replace("T", " "), 6, "UTC")


def newest(*conditions: ColumnElement[bool] | TextClause, settings: str = "") -> Select[Any]:
    """The query for the newest row of each id that meets conditions, tombstones included."""
    query = select(*COLUMNS).where(*conditions).order_by(*NEWEST_FIRST)
    return query.suffix_with(f"LIMIT 1 BY id {settings}")


def page_of(
    conditions: Sequence[ColumnElement[bool]], order: Sequence[Any], count: int, *, tombstones: bool
) -> Select[Any]:
    """The query for the first messages in an order, each in its newest version."""
    query = select(*COLUMNS).where(*conditions).order_by(*order)
    if not tombstones:
        return query.limit(count).suffix_with(NEWEST)
    # SQLAlchemy has no word for the first limit, which must come before its own.
    return query.order_by(*NEWEST_FIRST).suffix_with(f"LIMIT 1 BY id LIMIT {count:d}")


def message_of(row: Row[Any]) -> Message:
    """A message from a row of `COLUMNS`. Raises `TierRejected` for metadata that is none."""
    try:
        metadata = msgspec.json.decode(row.metadata, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise TierRejected("clickhouse", f"metadata of {row.id} is not an object") from error
    values = {name: getattr(row, name) for name in Message.__struct_fields__}
    for name in ("created_at", "updated_at", "deleted_at"):
        values[name] = rfc3339(values[name]) if values[name] else None
    values |= {"version": int(row.version), "id": str(row.id), "metadata": metadata}
    return Message(**values)


def rfc3339(moment: str) -> str:
    """RFC 3339 from ClickHouse's own text of a time in UTC."""
    return f"{moment.replace(' ', 'T')}Z"
