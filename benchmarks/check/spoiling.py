"""Damages messages directly in one tier each, in several ways."""

import random
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import text

from jobs.consistency.judge.copies import committed_rows
from models import codec, ids
from models.message import Message
from storage.redis import keys
from wiring.process import Services

BATCH = 500
_ROWS = """
FROM json_to_recordset(CAST(:records AS json)) AS r (
    id uuid, role text, content text, metadata json, updated_at timestamptz, version bigint,
    deleted_at timestamptz, content_hash text)"""
_PUT_BACK = text(
    """
UPDATE messages m SET content = r.content, metadata = r.metadata, updated_at = r.updated_at,
       version = r.version, deleted_at = r.deleted_at, content_hash = r.content_hash"""
    + _ROWS
    + " WHERE m.id = r.id"
)
_IDS = " WHERE id = ANY(CAST(:ids AS uuid[]))"


class MessageVersions(NamedTuple):
    """A message's first version and its newest."""

    first: Message
    newest: Message


Spoil = Callable[[Services, Sequence[MessageVersions]], None]


class SpoilingWay(NamedTuple):
    """A kind of damage, and the messages that it applies to: all, edited or deleted ones."""

    name: str
    of: str
    spoil: Spoil


def edit(services: Services, messages: Sequence[Message]) -> list[MessageVersions]:
    """Acknowledges a second version of each, as its user would."""
    return [_revise(services, one, content=f"{one.content} (edited)") for one in messages]


def bury(services: Services, messages: Sequence[Message]) -> list[MessageVersions]:
    """Acknowledges a tombstone of each, as its user would."""
    return [_revise(services, one, content="", metadata={}, deletes=True) for one in messages]


def heat(services: Services, histories: Sequence[MessageVersions]) -> None:
    """Warms the newest pages of their threads in Redis, as if each had just been read."""
    for thread in {(one.newest.user_id, one.newest.thread_id) for one in histories}:
        sum(services.failover.redis_recovery.warm(*thread))


def _revise(
    services: Services, one: Message, *, deletes: bool = False, **fields: object
) -> MessageVersions:
    def make(version: int) -> Message:
        moment = ids.timestamp(services.tiers.clock.now_us())
        gone = moment if deletes else None
        return codec.seal(
            msgspec.structs.replace(
                one, version=version, updated_at=moment, deleted_at=gone, **fields
            )
        )

    _, newest, _ = services.failover.writes.revise(one, make)
    return MessageVersions(one, newest)


def _postgres_delete(services: Services, batch: Sequence[MessageVersions]) -> None:
    with services.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM messages" + _IDS), {"ids": _ids(batch)})


def _postgres_flip(services: Services, batch: Sequence[MessageVersions]) -> None:
    flip = "UPDATE messages SET content = overlay(content PLACING '#' FROM 1)"
    with services.tiers.job_engine.begin() as connection:
        connection.execute(text(flip + _IDS), {"ids": _ids(batch)})


def _postgres_first(services: Services, batch: Sequence[MessageVersions]) -> None:
    records = codec.json_array(codec.encode(one.first) for one in batch)
    with services.tiers.job_engine.begin() as connection:
        connection.execute(_PUT_BACK, {"records": records})


def _clickhouse(services: Services, change: str, batch: Sequence[MessageVersions]) -> None:
    for at in range(0, len(batch), BATCH):
        named = ", ".join(f"'{name}'" for name in _ids(batch[at : at + BATCH]))
        statement = (
            f"ALTER TABLE messages {change} WHERE id IN ({named}) SETTINGS mutations_sync = 2"
        )
        with services.tiers.job_clickhouse.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def _clickhouse_delete(services: Services, batch: Sequence[MessageVersions]) -> None:
    _clickhouse(services, "DELETE", batch)


def _clickhouse_flip(services: Services, batch: Sequence[MessageVersions]) -> None:
    _clickhouse(services, "UPDATE content = concat('#', substring(content, 2))", batch)


def _clickhouse_first(services: Services, batch: Sequence[MessageVersions]) -> None:
    _clickhouse_delete(services, batch)
    lines = b"\n".join(codec.encode(one.first) for one in batch)
    services.tiers.job_clickhouse.insert("messages", lines, secrets.token_hex(16))


def _redis_set(services: Services, batch: Sequence[Message]) -> None:
    for one in batch:
        name = keys.message(services.tiers.redis.slot_of_message(one.id), one.id)
        services.tiers.redis_client.set(name, codec.encode(one), ex=3600)


def _redis_first(services: Services, batch: Sequence[MessageVersions]) -> None:
    _redis_set(services, [one.first for one in batch])


def _redis_flip(services: Services, batch: Sequence[MessageVersions]) -> None:
    _redis_set(
        services,
        [msgspec.structs.replace(one.newest, content=f"#{one.newest.content}") for one in batch],
    )


def _redis_unlist(services: Services, batch: Sequence[MessageVersions]) -> None:
    for one in batch:
        slot = services.tiers.redis.slot_of_message(one.newest.id)
        index = keys.index(slot, one.newest.user_id, one.newest.thread_id)
        services.tiers.redis_client.delete(keys.message(slot, one.newest.id))
        services.tiers.redis_client.zrem(index, one.newest.id)


WAYS = (
    SpoilingWay("PostgreSQL: deleted", "any", _postgres_delete),
    SpoilingWay("PostgreSQL: another text", "any", _postgres_flip),
    SpoilingWay("PostgreSQL: an older version", "edited", _postgres_first),
    SpoilingWay("PostgreSQL: a tombstone is live again", "deleted", _postgres_first),
    SpoilingWay("ClickHouse: deleted", "any", _clickhouse_delete),
    SpoilingWay("ClickHouse: another text", "any", _clickhouse_flip),
    SpoilingWay("ClickHouse: an older version", "edited", _clickhouse_first),
    SpoilingWay("ClickHouse: a tombstone is live again", "deleted", _clickhouse_first),
    SpoilingWay("Redis: deleted, in the index too", "hot", _redis_unlist),
    SpoilingWay("Redis: another text", "hot", _redis_flip),
    SpoilingWay("Redis: an older version", "edited", _redis_first),
    SpoilingWay("Redis: a tombstone is live again", "deleted", _redis_first),
)


def shares(count: int) -> list[int]:
    """How many messages to damage in each way."""
    each, rest = divmod(count, len(WAYS))
    return [each + (number < rest) for number in range(len(WAYS))]


def drawn(services: Services, count: int, seed: int) -> list[Message]:
    """So many random messages of PostgreSQL, in random order."""
    query = "SELECT id::text FROM messages WHERE deleted_at IS NULL AND version = 1 ORDER BY id"
    with services.tiers.job_engine.connect() as connection:
        names = list(connection.execute(text(query)).scalars())
        chosen = random.Random(seed).sample(names, count)
        found = committed_rows(connection, chosen)
    return [found[name] for name in chosen]


def _ids(batch: Sequence[MessageVersions]) -> list[str]:
    return [one.newest.id for one in batch]
