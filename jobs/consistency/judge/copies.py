"""Every copy of some messages, as the three tiers have them at one moment."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from models.clickhouse_tables import messages as archive
from models.message import Message
from models.tables import messages
from storage.availability.hidden import NOTHING, Thread, Watermarks, thread_of
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.rows import NEWEST_FIRST, rfc3339
from storage.clickhouse.rows import message_of as archived_message_of
from storage.errors import TierRejected
from storage.postgres.driver import message_of
from storage.redis.driver import RedisGateway
from storage.resilience.bites import batches

KEYS_AT_ONCE = 200
"""Records fetched from Redis at once: about a millisecond in which it does nothing else."""

_COLUMNS = (
    archive.c.id,
    archive.c.version,
    # Bytes that are no text would end the driver; what replaces them matches no hash.
    *(
        func.toValidUTF8(archive.c[name]).label(name)
        for name in ("user_id", "thread_id", "role", "content", "metadata", "content_hash")
    ),
    *(
        func.toString(archive.c[name]).label(name)
        for name in ("created_at", "updated_at", "deleted_at", "archived_at")
    ),
)


class HotRecord(NamedTuple):
    """A record in Redis, and whether it may be evicted."""

    record: bytes
    has_ttl: bool


class ArchivedRow(NamedTuple):
    """One row of ClickHouse: its place in the table, since when, and the message if it is one."""

    version: int
    user_id: str
    thread_id: str
    created_at: str
    archived_at: str
    message: Message | None


class Copies(NamedTuple):
    """All copies of one message. `archived` are all rows of ClickHouse, the one that counts first;
    `marks` is what hides messages of each thread that a copy says it is of."""

    id: str
    hot: HotRecord | None = None
    committed: Message | None = None
    archived: tuple[ArchivedRow, ...] = ()
    marks: Mapping[Thread, Watermarks] = MappingProxyType({})

    def hidden(self, message: Message) -> bool:
        """Whether a message is hidden, if it is of the thread that this copy of it says."""
        return self.marks.get(thread_of(message), NOTHING).hide(message.id)


def hot_records(door: RedisGateway, names: Sequence[str]) -> dict[str, HotRecord]:
    """The records that Redis has under these keys, by key. Raises `TierError`."""
    found: dict[str, HotRecord] = {}
    for batch in batches(names, KEYS_AT_ONCE):
        answers = door.each(lambda pipeline, name: (pipeline.get(name), pipeline.ttl(name)), batch)
        for name, record, ttl in zip(batch, answers[::2], answers[1::2], strict=True):
            if record is not None:
                found[name] = HotRecord(record, ttl != -1)
    return found


def committed_rows(connection: Connection, names: Collection[str]) -> dict[str, Message]:
    """The rows that PostgreSQL has of these messages."""
    query = select(messages).where(messages.c.id.in_(list(names)))
    return {row.id: message_of(row) for row in connection.execute(query)}


def archived_rows(server: ClickHouse, names: Collection[str]) -> dict[str, list[ArchivedRow]]:
    """All rows that ClickHouse has of these messages, the one that counts first. Raises
    `TierError`."""
    if not names:
        return {}
    named = ", ".join(f"'{name}'" for name in names)
    query = select(*_COLUMNS).where(text(f"id IN ({named})")).order_by(*NEWEST_FIRST)
    found: dict[str, list[ArchivedRow]] = {}
    for row in server.rows(query):
        found.setdefault(str(row.id), []).append(_archived(row))
    return found


def _archived(row: Any) -> ArchivedRow:
    try:
        message = archived_message_of(row)
    except TierRejected:
        message = None
    return ArchivedRow(
        int(row.version),
        row.user_id,
        row.thread_id,
        rfc3339(row.created_at),
        rfc3339(row.archived_at),
        message,
    )
