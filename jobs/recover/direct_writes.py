"""Hands over to PostgreSQL what ClickHouse took while nobody else could.

A write leaves the list only after PostgreSQL has committed it; a crash between the two repeats it,
which changes nothing. From PostgreSQL it goes on as usual: to Redis as something it lacks, and to
ClickHouse as a row that is there already.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
import structlog
from sqlalchemy import Connection

from models import codec, ids
from models.appends import Key, Made
from storage.postgres import idempotency, locks
from storage.postgres import writes as postgres_writes
from storage.postgres.driver import execute, in_halves, rows_of, transact, translated
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import bury_doubles
from storage.resilience.bites import Bite
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

BATCH = 500
MOST_BYTES = 512 * 1024
"""Of one transaction, for which others wait."""

_LISTED = (
    "SELECT id, version, user_id, thread_id, idempotency_key, record FROM direct_writes"  # noqa: S608
    f" ORDER BY user_id, thread_id, id, version LIMIT {BATCH}"
)
_NOTED = (
    "SELECT clock_timestamp() AS began,"
    " EXISTS (SELECT FROM redis_detours WHERE in_clickhouse) AS is_noted"
)
_NOTHING_WAITS = "DELETE FROM redis_detours WHERE in_clickhouse AND said_at < :began"


class _Write(msgspec.Struct):
    """A version that ClickHouse took, with the Idempotency-Key that made it, if any."""

    id: str
    version: int
    user_id: str
    thread_id: str
    idempotency_key: str
    record: str


class HandoffService:
    """Empties the list of direct writes. Safe to run anywhere; one runs at a time."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._engine = tiers.operator_engine
        self._server = tiers.clickhouse_within(tiers.settings.ship_timeout_seconds)
        self._partitions = Partitions(tiers.operator_engine)
        self._bite = Bite(MOST_BYTES)

    def replay(self) -> int:
        """Hands everything over to PostgreSQL; gives how many writes. Raises `TierUnavailable`:
        the next batch is smaller then, for it may have been too much."""
        with self._bite.attempt():
            return self._replay()

    def _replay(self) -> int:
        written = 0
        (before,) = rows_of(self._engine, _NOTED)
        while writes := self._listed():
            with translated(), self._engine.begin() as connection:
                if not locks.try_lock(connection, "homecoming"):
                    return written
                self._partitions.ensure_for(write.id for write in writes)
                # A drain of the same message at the same moment would count it once more.
                slots = {ids.shard_in(write.id) % self._tiers.settings.shards for write in writes}
                locks.lock_slots(connection, slots, locks.PATIENCE)
                in_halves(
                    connection,
                    writes,
                    partial(self._take_in, connection),
                    partial(_refuse, connection),
                )
            self._strike_out(writes)
            written += len(writes)
            self._bite.grow_batch()
            log.warning("brought_home", writes=len(writes))
        if before.is_noted:
            transact(self._engine, execute, _NOTHING_WAITS, began=before.began)
        return written

    def _listed(self) -> Sequence[_Write]:
        with self._tiers.breakers.clickhouse.guard():
            lines = self._server.lines(_LISTED).splitlines()
        found = [msgspec.json.decode(line, type=_Write, strict=False) for line in lines]
        return self._bite.of(found, [len(write.record) for write in found])

    def _take_in(self, connection: Connection, writes: Sequence[_Write]) -> None:
        done = postgres_writes.take_in(connection, [write.record.encode() for write in writes])
        taken = [write for write in writes if write.id not in done.hidden]
        if len(taken) < len(writes):
            # ClickHouse has what was not taken in, and may have been purged before.
            left = {(one.user_id, one.thread_id) for one in writes if one.id in done.hidden}
            postgres_writes.purge_again(connection, left)
        postgres_writes.queue_backfill(connection, [codec.decode(write.record) for write in taken])
        made = [
            (
                Key(write.user_id, write.thread_id, write.idempotency_key),
                Made(write.id, codec.decode(write.record).content_hash),
            )
            for write in taken
            if write.idempotency_key
        ]
        lost = idempotency.record(connection, made, self._tiers.settings.idempotency_seconds)
        bury_doubles(connection, lost, ids.timestamp(self._tiers.clock.now_us()))
        postgres_writes.queue_backfill(connection, lost)

    def _strike_out(self, writes: Sequence[_Write]) -> None:
        named = ", ".join(f"('{write.id}', {write.version})" for write in writes)
        self._server.execute(
            f"ALTER TABLE direct_writes DELETE WHERE (id, version) IN ({named})"
            " SETTINGS mutations_sync = 1"
        )


def _refuse(connection: Connection, write: _Write, reason: str) -> None:
    entry_id = f"clickhouse:{write.id}:{write.version}"
    postgres_writes.add_dead_letter(
        connection, ids.shard_in(write.id), entry_id, "message", write.record.encode(), reason
    )
    log.error("dead_lettered", entries=1)
