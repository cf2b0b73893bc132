"""Brings home to PostgreSQL what ClickHouse took while nobody else could.

A write leaves the list only after PostgreSQL has committed it; a crash between the two repeats it,
which changes nothing. From PostgreSQL it goes the usual ways: to Redis as something it lacks, and
to ClickHouse as the row that is there already.
"""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import DBAPIError

from models import codec, ids
from models.appends import Key
from models.clickhouse_tables import direct_writes
from models.ids import Clock
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.errors import TierUnavailable
from storage.postgres import idempotency, locks
from storage.postgres import writes as postgres_writes
from storage.postgres.driver import is_transient, translated
from storage.postgres.partitions import Partitions
from storage.postgres.tombstones import bury_doubles
from storage.resilience.bites import Bite
from storage.resilience.breaker import Breaker

log = structlog.get_logger(__name__)

BATCH = 500
MOST_BYTES = 512 * 1024
"""Of one transaction: PostgreSQL indexes words, about a microsecond a byte where they are long."""

_SAID = text(
    "SELECT clock_timestamp() AS began,"
    " EXISTS (SELECT FROM redis_detours WHERE in_clickhouse) AS said"
)
_NOTHING_WAITS = text("DELETE FROM redis_detours WHERE in_clickhouse AND said_at < :began")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('threadkeep:homecoming'))")


class _Write(NamedTuple):
    id: str
    version: int
    user_id: str
    thread_id: str
    key: str
    record: bytes


class HandoffService:
    """Empties the list of direct writes. Safe to run anywhere; one runs at a time."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        breaker: Breaker,
        clock: Clock,
        idempotency_seconds: int,
        slots: int,
    ) -> None:
        self._engine = engine
        self._server = server
        self._breaker = breaker
        self._clock = clock
        self._partitions = Partitions(engine)
        self._idempotency_seconds = idempotency_seconds
        self._slots = slots
        self._bite = Bite(MOST_BYTES)

    def replay(self) -> int:
        """Brings everything home; gives how many writes.

        Raises `TierUnavailable`: the next takes less at once, for it may have been too much.
        """
        try:
            home = self._replay()
        except TierUnavailable as error:
            if error.tried:
                self._bite.shrink_batch()
            raise
        return home

    def _replay(self) -> int:
        home = 0
        with translated(), self._engine.begin() as connection:
            before = connection.execute(_SAID).one()
        while writes := self._listed():
            with translated(), self._engine.begin() as connection:
                if not connection.execute(_TRY_LOCK).scalar_one():
                    return home
                self._partitions.ensure_for(write.id for write in writes)
                # A drain of the same message at the same moment would count it once more.
                slots = {ids.shard_in(write.id) % self._slots for write in writes}
                locks.lock_slots(connection, slots, locks.PATIENCE)
                self._write(connection, writes)
            self._strike_out(writes)
            home += len(writes)
            self._bite.grow_batch()
            log.warning("brought_home", writes=len(writes))
        if before.said:
            with translated(), self._engine.begin() as connection:
                connection.execute(_NOTHING_WAITS, {"began": before.began})
        return home

    def _listed(self) -> Sequence[_Write]:
        listed = direct_writes.c
        query = (
            select(
                listed.id,
                listed.version,
                listed.user_id,
                listed.thread_id,
                listed.idempotency_key,
                listed.record,
            )
            .order_by(listed.user_id, listed.thread_id, listed.id, listed.version)
            .limit(BATCH)
        )
        with (
            self._breaker.guard(),
            clickhouse_translated(),
            self._server.engine.connect() as connection,
        ):
            rows = connection.execute(query).all()
        found = [
            _Write(
                str(row.id),
                int(row.version),
                row.user_id,
                row.thread_id,
                row.idempotency_key,
                row.record.encode(),
            )
            for row in rows
        ]
        return self._bite.of(found, [len(write.record) for write in found])

    def _write(self, connection: Connection, writes: Sequence[_Write]) -> None:
        try:
            with connection.begin_nested():
                self._take_in(connection, writes)
        except (DBAPIError, ValueError) as error:
            if isinstance(error, DBAPIError) and is_transient(error):
                raise
            if len(writes) > 1:
                middle = len(writes) // 2
                self._write(connection, writes[:middle])
                self._write(connection, writes[middle:])
                return
            self._refuse(connection, writes[0], error)

    def _take_in(self, connection: Connection, writes: Sequence[_Write]) -> None:
        done = postgres_writes.take_in(connection, [write.record for write in writes])
        taken = [write for write in writes if write.id not in done.hidden]
        if len(taken) < len(writes):
            # ClickHouse has what was not taken in, and may have been purged before.
            left = {(one.user_id, one.thread_id) for one in writes if one.id in done.hidden}
            postgres_writes.purge_again(connection, left)
        postgres_writes.queue_backfill(connection, [codec.decode(write.record) for write in taken])
        made = [
            (Key(write.user_id, write.thread_id, write.key), write.id)
            for write in taken
            if write.key
        ]
        lost = idempotency.record(connection, made, self._idempotency_seconds)
        bury_doubles(connection, lost, ids.timestamp(self._clock.now_us()))
        postgres_writes.queue_backfill(connection, lost)

    def _refuse(self, connection: Connection, write: _Write, error: Exception) -> None:
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        entry_id = f"clickhouse:{write.id}:{write.version}"
        slot = ids.shard_in(write.id)
        postgres_writes.add_dead_letter(
            connection, slot, entry_id, "message", write.record, reason.strip()
        )
        log.error("dead_lettered", entries=1)

    def _strike_out(self, writes: Sequence[_Write]) -> None:
        named = ", ".join(f"('{write.id}', {write.version})" for write in writes)
        statement = (
            f"ALTER TABLE direct_writes DELETE WHERE (id, version) IN ({named})"
            " SETTINGS mutations_sync = 1"
        )
        with clickhouse_translated(), self._server.engine.begin() as connection:
            connection.exec_driver_sql(statement)
