"""Registers this process before its first write that bypasses Redis, or PostgreSQL too.

The first write waits until every lease granted earlier has expired. Later ones renew the row and do
not wait. Writes beside Redis are registered in PostgreSQL, writes beside both in ClickHouse.
"""

import threading
import time
import uuid
from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from storage.availability.lease import LEASE_SECONDS
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierUnavailable
from storage.postgres.driver import execute, transact
from storage.postgres.engines import retry_with_longer_deadline
from storage.resilience import budget

log = structlog.get_logger(__name__)

ROW_SECONDS = 5
"""How long the row lasts, by the clock of the server that has it."""

BELIEVED_SECONDS = 3.5
"""How long this process relies on it: less, because no two clocks run alike."""

FRESH_SECONDS = 1.5

_HOLD = """
WITH swept AS (
    DELETE FROM redis_detours
    WHERE until < clock_timestamp() - interval '1 minute' AND holder <> :holder)
INSERT INTO redis_detours (holder, until)
VALUES (:holder, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (holder) DO UPDATE SET until = excluded.until
"""
_NOTE_CLICKHOUSE = (
    "INSERT INTO redis_detours (holder, until, in_clickhouse)"
    " VALUES (gen_random_uuid(), 'infinity', true)"
)


class BypassRegistration:
    """This process's row among those who write beside a tier. Safe for threads."""

    def __init__(self, beside: str, tier: str, hold: Callable[[str], None]) -> None:
        """`hold` writes or renews the row of a holder in `tier` for `ROW_SECONDS`. It raises
        `TierUnavailable`."""
        self._beside = beside
        self._tier = tier
        self._hold = hold
        self._holder = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._held_at = float("-inf")
        self._failed_at = float("-inf")
        self._reason = ""

    def expire(self) -> None:
        """Has the next write wait again: the tier was back, and leases were granted."""
        self._held_at = float("-inf")

    def acquire(self) -> None:
        """Returns when a write beside the tier may be acknowledged. Raises `TierUnavailable`."""
        came = time.monotonic()
        if came - self._held_at < FRESH_SECONDS:
            return
        with budget.taking(self._lock, self._tier):
            now = time.monotonic()
            if now - self._held_at < FRESH_SECONDS:
                return
            if self._failed_at > came:
                # Else those who waited would find out one after the other, the last much too late.
                raise TierUnavailable(self._tier, self._reason, tried=False)
            try:
                self._hold(self._holder)
            except TierUnavailable as error:
                if not (error.passing or budget.is_spent()):
                    self._failed_at, self._reason = time.monotonic(), error.reason
                raise
            if now - self._held_at > BELIEVED_SECONDS:
                log.warning(f"writing_beside_{self._beside}")
                budget.sleep(self._tier, LEASE_SECONDS)
            self._held_at = now


def beside_redis(quick: Engine, patient: Engine) -> BypassRegistration:
    """For writes to PostgreSQL: registered with a short deadline, then with a longer one."""

    def hold(holder: str) -> None:
        row = {"holder": holder, "seconds": ROW_SECONDS}
        retry_with_longer_deadline(quick, patient, lambda on: transact(on, execute, _HOLD, row))

    return BypassRegistration("redis", "postgresql", hold)


def beside_postgresql(server: ClickHouse) -> BypassRegistration:
    """For writes to ClickHouse."""

    def hold(holder: str) -> None:
        row = msgspec.json.encode({"holder": holder, "seconds": ROW_SECONDS})
        # Each row counts, although it says the same as the one before.
        server.insert("direct_writers", row, str(uuid.uuid4()))

    return BypassRegistration("postgresql", "clickhouse", hold)


def note_clickhouse(connection: Connection) -> None:
    """Notes in PostgreSQL that ClickHouse holds what PostgreSQL lacks, until that is replayed."""
    execute(connection, _NOTE_CLICKHOUSE)
