"""Ships committed messages to ClickHouse by way of the outbox: early, in order, once.

The outbox row is written in the transaction that wrote the message, and deleted in one that
commits after ClickHouse has answered. A crash between the two repeats the insert: the token, a
hash of the rows, makes ClickHouse drop it, and were it to arrive all the same, the table keeps
one row for an id and a version.
"""

import time
from typing import NamedTuple

from sqlalchemy import Engine, text

from jobs.replicate.held_versions import keep_archived
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError, TierUnavailable
from storage.postgres.driver import translated
from storage.resilience.breaker import Breaker
from storage.resilience.faultpoints import faultpoint
from storage.telemetry.instruments import Instruments

LEAST_MESSAGES = 10
"""Of a batch, when larger ones were too much: few enough whatever is in them."""

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('threadkeep:ship'))")

ROW_AS_JSON = """json_build_object(
        'id', m.id, 'user_id', m.user_id, 'thread_id', m.thread_id, 'role', m.role,
        'content', m.content, 'metadata', m.metadata::text,
        'created_at', m.created_at, 'updated_at', m.updated_at, 'version', m.version,
        'deleted_at', m.deleted_at, 'content_hash', m.content_hash)::text"""
"""A row `m` of `messages` as ClickHouse takes it: PostgreSQL renders the rows, so that not one of
them is parsed on the way."""

# An id that is queued twice is shipped once, as the row is now.
_TAKE = text(
    f"""
WITH taken AS (
    DELETE FROM clickhouse_outbox WHERE sequence IN (
        SELECT sequence FROM clickhouse_outbox ORDER BY sequence LIMIT :batch)
    RETURNING message_id
), rows AS (
    SELECT {ROW_AS_JSON} AS line,
        CASE WHEN m.version > 1 AND EXISTS (
            SELECT FROM retention_policies p WHERE p.legal_hold
                AND p.user_id = m.user_id AND p.thread_id IN ('', m.thread_id))
        THEN m.id END AS on_hold
    FROM messages m WHERE m.id IN (SELECT message_id FROM taken) ORDER BY m.id
)
SELECT (SELECT count(*) FROM taken) AS taken,
       (SELECT count(*) FROM rows) AS shipped,
       (SELECT string_agg(line, E'\\n') FROM rows) AS lines,
       (SELECT array_agg(on_hold::text) FROM rows WHERE on_hold IS NOT NULL) AS on_hold
"""  # noqa: S608
)


class Shipped(NamedTuple):
    """Counts of one shipment: outbox rows taken, messages inserted, and whether more wait."""

    taken: int = 0
    shipped: int = 0
    more: bool = False


class ReplicationService:
    """Empties the outbox. Safe to run anywhere; one runs at a time."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        breaker: Breaker,
        instruments: Instruments,
        batch_messages: int,
    ) -> None:
        self._instruments = instruments
        self._engine = engine
        self._server = server
        self._breaker = breaker
        self._most = self._batch = batch_messages

    def ship(self) -> Shipped:
        """Ships one batch. Raises `TierError` with the outbox as it was; the next batch is half as
        large then, for it may have been too much at once."""
        self._taken = batch = self._batch
        try:
            shipped = self._ship(batch)
        except TierError as error:
            if not isinstance(error, TierUnavailable) or error.tried:
                self._batch = max(min(LEAST_MESSAGES, self._most), self._taken // 2)
            raise
        if shipped.taken:
            self._batch = min(self._most, batch * 2)
        return shipped

    def _ship(self, batch: int) -> Shipped:
        started = time.perf_counter()
        with translated(), self._engine.begin() as connection:
            if not connection.execute(_TRY_LOCK).scalar_one():
                return Shipped()
            row = connection.execute(_TAKE, {"batch": batch}).one()
            self._taken = row.taken
            if row.lines:
                lines = row.lines.encode()
                with self._breaker.guard(is_bulk=True):
                    if row.on_hold:
                        keep_archived(connection, self._server, row.on_hold)
                    self._server.insert("messages", lines)
                faultpoint("ship.after_insert")
        if row.shipped:
            self._instruments.replicated(row.shipped, time.perf_counter() - started)
        return Shipped(row.taken, row.shipped, row.taken == batch)

    def ship_all(self) -> Shipped:
        """Ships until the outbox is empty, or another process has it."""
        taken = shipped = 0
        while True:
            step = self.ship()
            taken, shipped = taken + step.taken, shipped + step.shipped
            if not step.more:
                return Shipped(taken, shipped)
