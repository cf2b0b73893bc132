"""Puts the copies of a Redis that survived back into PostgreSQL, before Redis drops them as
committed: ClickHouse lags a second or two, and of that time these are the last."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from models import codec, ids
from storage.postgres import states as state_writes
from storage.postgres import writes
from storage.postgres.driver import translated
from storage.postgres.locks import lock_slots
from storage.postgres.partitions import Partitions
from storage.redis import keys
from storage.redis.driver import RedisGateway
from storage.tiers import Tiers


def restore_from_redis(tiers: Tiers) -> Iterator[int]:
    """Writes every message, thread and state of Redis to PostgreSQL where newer; yields for each
    batch how many versions were. Raises `TierError`."""
    partitions = Partitions(tiers.job_engine)

    def put_messages(connection: Connection, records: Sequence[bytes]) -> int:
        names = [codec.decode(record).id for record in records]
        partitions.ensure_for(names)
        slots = {ids.shard_in(name) % tiers.settings.shards for name in names}
        lock_slots(connection, slots)
        return writes.upsert_messages(connection, records)

    messages, threads = keys.EVERY_RECORD
    kinds = [
        (threads, _put_threads),
        (messages, put_messages),
        *((pattern, state_writes.upsert) for pattern in keys.EVERY_STATE),
    ]
    for pattern, put in kinds:
        for records in _records(tiers.redis_door, pattern):
            with translated(), tiers.job_engine.begin() as connection:
                newer = put(connection, records)
            yield newer


def _records(door: RedisGateway, pattern: str) -> Iterator[list[bytes]]:
    for names in door.scan(pattern):
        found = door.each(lambda pipeline, name: pipeline.get(name), names)
        if records := [record for record in found if record]:
            yield records


def _put_threads(connection: Connection, records: Sequence[bytes]) -> int:
    threads = map(codec.decode_thread, records)
    return sum(writes.upsert_thread(connection, thread) for thread in threads)
