"""Every copy of some messages, as the three tiers have them at one look."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, text

from models.clickhouse_tables import messages as archive
from models.message import Message
from models.tables import messages
from storage import redis_keys as keys
from storage.clickhouse_driver import ClickHouse
from storage.clickhouse_driver import translated as clickhouse_translated
from storage.clickhouse_rows import message_of as archived_message_of
from storage.clickhouse_rows import rfc3339
from storage.errors import TierRejected
from storage.postgres_driver import message_of
from storage.redis_driver import RedisDoor
from storage.redis_tier import RedisTier

KEYS_AT_ONCE = 200
"""Records that one look at Redis fetches: about a millisecond in which it does nothing else."""

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
_BOUNDARY = text("SELECT below::text FROM archive_boundary")
_MARKS = text(
    """
SELECT t.user_id, t.id AS thread_id, t.deleted_through::text AS deleted_through
FROM threads t JOIN json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
    ON t.user_id = r.user_id AND t.id = r.thread_id
WHERE t.deleted_through IS NOT NULL AND t.erased_through = t.deleted_through
"""
)


_ERASURES = text(
    "SELECT user_id, erased_through::text AS through, finished_at IS NOT NULL AS is_done"
    " FROM user_erasures WHERE user_id = ANY(:users)"
)


class Erasure(NamedTuple):
    """The id at and below which a user was erased, and whether that is carried out."""

    through: str
    is_done: bool


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
    `deleted_through` is the watermark that its thread was erased through, as PostgreSQL says."""

    id: str
    hot: HotRecord | None = None
    committed: Message | None = None
    archived: tuple[ArchivedRow, ...] = ()
    deleted_through: str = ""


def hot_records(door: RedisDoor, redis: RedisTier, names: Sequence[str]) -> dict[str, HotRecord]:
    """The records that Redis has of these messages. Raises `TierError`."""
    found: dict[str, HotRecord] = {}
    for at in range(0, len(names), KEYS_AT_ONCE):
        batch = names[at : at + KEYS_AT_ONCE]
        with door.passed() as client:
            pipeline: Any = client.pipeline(transaction=False)
            for name in batch:
                key = keys.message(redis.slot_of_message(name), name)
                pipeline.get(key)
                pipeline.ttl(key)
            answers = pipeline.execute()
        for name, record, ttl in zip(batch, answers[::2], answers[1::2], strict=True):
            if record is not None:
                found[name] = HotRecord(record, ttl != -1)
    return found


def committed_rows(connection: Connection, names: Collection[str]) -> dict[str, Message]:
    """The rows that PostgreSQL has of these messages."""
    query = select(messages).where(messages.c.id.in_(list(names)))
    return {row.id: message_of(row) for row in connection.execute(query)}


def archived_rows(server: ClickHouse, names: Collection[str]) -> dict[str, list[ArchivedRow]]:
    """All rows that ClickHouse has of these messages, the one that counts first.

    Raises `TierError`.
    """
    if not names:
        return {}
    named = ", ".join(f"'{name}'" for name in names)
    query = (
        select(*_COLUMNS)
        .where(text(f"id IN ({named})"))
        .order_by(archive.c.version.desc(), archive.c.archived_at.desc())
    )
    found: dict[str, list[ArchivedRow]] = {}
    with clickhouse_translated(), server.engine.connect() as connection:
        for row in connection.execute(query):
            found.setdefault(str(row.id), []).append(_archived(row))
    return found


def erased_through(
    connection: Connection, threads: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The watermarks of those threads whose deletion has been carried out."""
    if not threads:
        return {}
    named = [{"user_id": user_id, "thread_id": thread_id} for user_id, thread_id in threads]
    values = {"threads": msgspec.json.encode(named).decode()}
    rows = connection.execute(_MARKS, values)
    return {(row.user_id, row.thread_id): row.deleted_through for row in rows}


def erasures(connection: Connection, users: Collection[str]) -> dict[str, Erasure]:
    """The erasures of those of these users that were asked for."""
    rows = connection.execute(_ERASURES, {"users": list(users)})
    return {row.user_id: Erasure(row.through, row.is_done) for row in rows}


def archive_boundary(connection: Connection) -> str:
    """The id below which rows may be in ClickHouse alone.

    To be asked after rows were looked for: it moves before they leave PostgreSQL.
    """
    return str(connection.execute(_BOUNDARY).scalar_one())


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
