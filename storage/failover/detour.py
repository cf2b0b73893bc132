"""Says that this process writes beside Redis, before it does.

The first write beside Redis waits until no process can hold a lease from before. The ones after it
do not wait: the row that says so is kept fresh as long as they come.
"""

import threading
import time
import uuid

import structlog
from sqlalchemy import Engine, text

from storage.failover.lease import LEASE_SECONDS
from storage.postgres_driver import translated

log = structlog.get_logger(__name__)

ROW_SECONDS = 5.0
"""How long the row lasts by PostgreSQL's clock."""

BELIEVED_SECONDS = 3.5
"""How long this process relies on it: less, because two clocks never run quite alike."""

FRESH_SECONDS = 1.5

_HOLD = text(
    """
INSERT INTO redis_detours (holder, until)
VALUES (:holder, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (holder) DO UPDATE SET until = excluded.until
"""
)
_SAY_CLICKHOUSE = text(
    "INSERT INTO redis_detours (holder, until, in_clickhouse)"
    " VALUES (gen_random_uuid(), 'infinity', true)"
)
_SWEEP = text("DELETE FROM redis_detours WHERE until < clock_timestamp() - interval '1 minute'")


class Detour:
    """This process's row among those who write beside Redis."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._holder = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._held_at = float("-inf")

    def say_clickhouse(self) -> None:
        """Says that ClickHouse holds what PostgreSQL lacks, until it was brought home.

        Raises `TierUnavailable`.
        """
        with translated(), self._engine.begin() as connection:
            connection.execute(_SAY_CLICKHOUSE)

    def forget(self) -> None:
        """Has the next write wait again: Redis was back meanwhile, and leases were given."""
        self._held_at = float("-inf")

    def enter(self) -> None:
        """Returns when a write beside Redis may be acknowledged. Raises `TierUnavailable`."""
        if time.monotonic() - self._held_at < FRESH_SECONDS:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._held_at < FRESH_SECONDS:
                return
            is_first = now - self._held_at > BELIEVED_SECONDS
            with translated(), self._engine.begin() as connection:
                connection.execute(_HOLD, {"holder": self._holder, "seconds": ROW_SECONDS})
                if is_first:
                    connection.execute(_SWEEP)
            if is_first:
                log.warning("writing_beside_redis")
                time.sleep(LEASE_SECONDS)
            self._held_at = now
