"""What a Redis that survived still has goes back to PostgreSQL before Redis drops it.

ClickHouse lags a second or two behind PostgreSQL. What was committed in that second is still hot:
the last copies there are, of which Redis itself believes that PostgreSQL has them.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from models import codec, ids
from storage.postgres import states as state_writes
from storage.postgres import writes
from storage.postgres.driver import translated
from storage.postgres.partitions import Partitions
from storage.redis import keys
from storage.tiers import Tiers

BATCH = 1_000


class HotCopies:
    """Reads every message, thread and state of Redis. Safe to repeat; newer versions win."""

    def __init__(self, tiers: Tiers) -> None:
        self._engine = tiers.job_engine
        self._door = tiers.redis_door
        self._slots = tiers.settings.shards
        self._partitions = Partitions(tiers.job_engine)

    def restore_from_redis(self) -> Iterator[int]:
        """Yields for each batch how many versions PostgreSQL did not have. Raises `TierError`."""
        messages, threads = keys.EVERY_RECORD
        kinds = [
            (threads, self._put_threads),
            (messages, self._put_messages),
            *((pattern, state_writes.upsert) for pattern in keys.EVERY_STATE),
        ]
        for pattern, put in kinds:
            for records in self._records(pattern):
                with translated(), self._engine.begin() as connection:
                    newer = put(connection, records)
                yield newer

    def _records(self, pattern: str) -> Iterator[list[bytes]]:
        for names in self._door.scan(pattern, BATCH):
            pipeline = self._door.client.pipeline(transaction=False)
            for name in names:
                pipeline.get(name)
            if records := [record for record in pipeline.execute() if record]:
                yield records

    def _put_threads(self, connection: Connection, records: Sequence[bytes]) -> int:
        threads = map(codec.decode_thread, records)
        return sum(writes.upsert_thread(connection, thread) for thread in threads)

    def _put_messages(self, connection: Connection, records: Sequence[bytes]) -> int:
        names = [codec.decode(record).id for record in records]
        self._partitions.ensure_for(names)
        writes.lock_in_order(connection, {ids.shard_in(name) % self._slots for name in names})
        return writes.upsert_messages(connection, records)
