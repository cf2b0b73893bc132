"""Carries a queue of PostgreSQL to a table of ClickHouse. A row is queued in the transaction that
wrote it, and leaves the queue after ClickHouse has answered. A crash between the two repeats the
insert, which ClickHouse drops by its token, a hash of the rows."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from storage.errors import TierError, TierUnavailable
from storage.postgres.driver import execute, translated
from storage.postgres.locks import try_lock
from storage.resilience.bites import Bite
from storage.resilience.faultpoints import faultpoint
from storage.tiers import Tiers


class Shipped(NamedTuple):
    """Counts of one shipment: queued rows taken, rows inserted, and whether more wait."""

    taken: int = 0
    shipped: int = 0
    more: bool = False


class ClickHouseOutbox:
    """Empties one queue. Safe to run anywhere; one process ships at a time."""

    def __init__(
        self,
        tiers: Tiers,
        take: str,
        table: str,
        lock: str,
        *,
        most: int,
        least: int,
        before_insert: Callable[[Connection, Row[Any]], None] = lambda *_: None,
        after_insert: str = "",
        on_shipped: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """`take` deletes at most `:batch` queued rows and gives how many were `taken` and are
        `shipped`, and the `lines` for `table`. A batch has `most` rows, and no fewer than `least`
        after larger ones were too much. `after_insert` names a fault point."""
        self._engine = tiers.job_engine
        self._server = tiers.clickhouse_within(tiers.settings.ship_timeout_seconds)
        self._breaker = tiers.breakers.clickhouse
        self._take = take
        self._table = table
        self._lock = lock
        self._bite = Bite(most, least)
        self._before_insert = before_insert
        self._after_insert = after_insert
        self._on_shipped = on_shipped

    def ship(self) -> Shipped:
        """Ships one batch. Raises `TierError` with the queue as it was; the next batch is half as
        large then, for it may have been too much at once."""
        self._taken = batch = self._bite.size
        try:
            shipped = self._ship(batch)
        except TierError as error:
            if not isinstance(error, TierUnavailable) or error.tried:
                self._bite.shrink_batch(self._taken)
            raise
        if shipped.taken:
            self._bite.grow_batch()
        return shipped

    def ship_all(self) -> Shipped:
        """Ships until the queue is empty, or another process has it."""
        taken = shipped = 0
        while True:
            step = self.ship()
            taken, shipped = taken + step.taken, shipped + step.shipped
            if not step.more:
                return Shipped(taken, shipped)

    def _ship(self, batch: int) -> Shipped:
        started = time.perf_counter()
        with translated(), self._engine.begin() as connection:
            if not try_lock(connection, self._lock):
                return Shipped()
            row = execute(connection, self._take, batch=batch).one()
            self._taken = row.taken
            if row.lines:
                with self._breaker.guard(is_bulk=True):
                    self._before_insert(connection, row)
                    self._server.insert(self._table, row.lines.encode())
                if self._after_insert:
                    faultpoint(self._after_insert)
        if row.shipped:
            self._on_shipped(row.shipped, time.perf_counter() - started)
        return Shipped(row.taken, row.shipped, row.taken == batch)
