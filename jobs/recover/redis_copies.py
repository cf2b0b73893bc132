"""What a Redis that survived still has goes back to PostgreSQL before Redis drops it.

ClickHouse lags a second or two behind PostgreSQL. What was committed in that second is still hot:
the last copies there are, of which Redis itself believes that PostgreSQL has them.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from redis import Redis
from sqlalchemy import Engine

from models import codec, ids
from storage.postgres import states as state_writes
from storage.postgres import writes
from storage.postgres.driver import translated
from storage.postgres.locks import lock_slots
from storage.postgres.partitions import Partitions
from storage.redis import keys
from storage.redis.driver import RedisGateway

BATCH = 1_000


class HotCopies:
    """Reads every message, thread and state of Redis. Safe to repeat; newer versions win."""

    def __init__(self, engine: Engine, door: RedisGateway, slots: int) -> None:
        self._engine = engine
        self._door = door
        self._slots = slots
        self._partitions = Partitions(engine)

    def restore_from_redis(self) -> Iterator[int]:
        """Yields for each batch how many versions PostgreSQL did not have. Raises `TierError`."""
        messages, threads = keys.EVERY_RECORD
        for records in self._records(threads):
            yield self._put_threads(records)
        for records in self._records(messages):
            yield self._put_messages(records)
        for pattern in keys.EVERY_STATE:
            for records in self._records(pattern):
                yield self._put_states(records)

    def _records(self, pattern: str) -> Iterator[list[bytes]]:
        with self._door.guarded() as client:
            found = client.scan_iter(match=pattern, count=BATCH)
            while names := list(islice(found, BATCH)):
                yield [record for record in _values(client, names) if record]

    def _put_threads(self, records: Sequence[bytes]) -> int:
        threads = [codec.decode_thread(record) for record in records]
        with translated(), self._engine.begin() as connection:
            return sum(writes.upsert_thread(connection, thread) for thread in threads)

    def _put_states(self, records: Sequence[bytes]) -> int:
        with translated(), self._engine.begin() as connection:
            return state_writes.upsert(connection, records)

    def _put_messages(self, records: Sequence[bytes]) -> int:
        names = [codec.decode(record).id for record in records]
        if not names:
            return 0
        self._partitions.ensure_for(names)
        with translated(), self._engine.begin() as connection:
            slots = {ids.shard_in(name) % self._slots for name in names}
            lock_slots(connection, slots)
            return writes.upsert_messages(connection, records)


def _values(client: Redis, names: Sequence[bytes]) -> list[bytes | None]:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.get(name)
    return list(pipeline.execute())
