"""Spoils what a tier holds, behind the back of everybody, and looks at what it holds then."""

import secrets
from typing import Any

from sqlalchemy import text

from models import codec
from models.appends import Stored
from models.message import Message
from storage.clickhouse.driver import translated
from storage.redis import keys
from support.data.samples import append_of
from wiring.process import Services


def place(services: Services, *batch: Message) -> None:
    """Has messages of one thread taken by Redis and carried to both other tiers."""
    (answer,) = services.tiers.redis.append([append_of(*batch)], 60)
    assert isinstance(answer, Stored), answer
    services.jobs.drain_pipeline()


def in_postgres(services: Services, change: str, *batch: Message, **values: Any) -> None:
    """`change` is what follows UPDATE messages SET, or `DELETE`."""
    statement = "DELETE FROM messages" if change == "DELETE" else f"UPDATE messages SET {change}"
    where = " WHERE id = ANY(CAST(:ids AS uuid[]))"
    with services.tiers.job_engine.begin() as connection:
        connection.execute(text(statement + where), values | {"ids": [one.id for one in batch]})


def put_into_postgres(services: Services, *batch: Message) -> None:
    """Rows as they are given, whatever is there."""
    with services.tiers.job_engine.begin() as connection:
        connection.execute(
            text("DELETE FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": [one.id for one in batch]},
        )
        connection.execute(
            text(
                "INSERT INTO messages (id, user_id, thread_id, role, content, metadata,"
                " created_at, updated_at, version, deleted_at, content_hash)"
                " SELECT * FROM json_to_recordset(CAST(:records AS json)) AS r (id uuid,"
                " user_id text, thread_id text, role text, content text, metadata json,"
                " created_at timestamptz, updated_at timestamptz, version bigint,"
                " deleted_at timestamptz, content_hash text)"
            ),
            {"records": codec.json_array(map(codec.encode, batch))},
        )


def in_clickhouse(services: Services, change: str, *batch: Message) -> None:
    """`change` is what follows ALTER TABLE messages: an UPDATE without its WHERE, or `DELETE`."""
    named = ", ".join(f"'{one.id}'" for one in batch)
    statement = f"ALTER TABLE messages {change} WHERE id IN ({named}) SETTINGS mutations_sync = 2"
    with translated(), services.tiers.job_clickhouse.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def put_into_clickhouse(services: Services, *batch: Message) -> None:
    """One more row for each, whatever is there."""
    lines = b"\n".join(map(codec.encode, batch))
    services.tiers.job_clickhouse.insert("messages", lines, secrets.token_hex(16))


def put_into_redis(services: Services, *batch: Message, seconds: int | None = 3600) -> None:
    """Hot copies as they are given, whatever is there."""
    for one in batch:
        name = keys.message(services.tiers.redis.slot_of_message(one.id), one.id)
        services.tiers.redis_client.set(name, codec.encode(one), ex=seconds)


def drop_from_redis(services: Services, *batch: Message, listed: bool = True) -> None:
    """Takes hot copies away, and their entries in the index unless they stay `listed`."""
    for one in batch:
        slot = services.tiers.redis.slot_of_message(one.id)
        services.tiers.redis_client.delete(keys.message(slot, one.id))
        if not listed:
            services.tiers.redis_client.zrem(keys.index(slot, one.user_id, one.thread_id), one.id)


def everywhere(services: Services, one: Message) -> dict[str, Message | None]:
    """What each tier says of a message."""
    hot = services.tiers.redis.message(one.id)
    committed = services.tiers.postgres.message(one.user_id, one.id)
    archived = services.tiers.clickhouse.message(one.user_id, one.id)
    return {
        "redis": codec.decode(hot) if hot else None,
        "postgresql": committed[0] if committed else None,
        "clickhouse": archived[0] if archived else None,
    }
