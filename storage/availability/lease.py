"""Whether the faster tiers may be believed to hold everything: a lease, never longer than that.

Redis answers alone only while this process holds a lease that says nobody writes beside it. The
lease comes from PostgreSQL, where everyone who writes beside Redis says so first and then waits
until every lease given before has run out. So no clock is shared and nobody has to be told.

Who writes beside both says so in ClickHouse, and waits as long. It may be one process alone that
finds PostgreSQL out, or too slow, while Redis is; so ClickHouse is asked at each look from when
Redis was seen out until some time after, and once after PostgreSQL was. Until that is answered
PostgreSQL is not believed to hold everything either.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine, text

from storage.availability.checks.installation import FOREIGN, RedisIdentity, identity
from storage.clickhouse import direct_writes
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError
from storage.postgres.driver import translated
from storage.redis.driver import RedisGateway
from storage.resilience import budget
from storage.resilience.breaker import Breaker
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments

LEASE_SECONDS = 0.4
"""How long a lease holds; a first write beside Redis waits as long before it is acknowledged."""

RENEW_SECONDS = 0.1
ASKING_SECONDS = 1.0
"""Whoever has to ask itself does without a lease after this long: there are others to ask yet."""

TROUBLE_SECONDS = 5.0
"""After this long everybody who found Redis out as well has found it back."""

IDLE_SECONDS = 5.0
"""After this long without a reader nobody renews."""

_STANDING = text(
    """
SELECT run_id, installation::text AS installation, keys_whole_from <= clock_timestamp() AS keys,
       EXISTS (SELECT FROM redis_backfill) AS backfill,
       EXISTS (SELECT FROM redis_detours WHERE until > clock_timestamp()) AS detours,
       EXISTS (SELECT FROM redis_detours WHERE in_clickhouse) AS clickhouse
FROM redis_state
"""
)


class Completeness(NamedTuple):
    """What may be believed: Redis about the messages above a floor, Redis about
    Idempotency-Keys, and PostgreSQL about everything that is not archived. Without `is_known`
    nobody could be asked."""

    redis_complete: bool = False
    keys_complete: bool = False
    postgres_complete: bool = False
    is_known: bool = True


UNKNOWN = Completeness(is_known=False)


class Lease:
    """This process's lease. Renewed in the background while somebody asks.

    `whole_at` is when PostgreSQL was last known to hold everything, by the monotonic clock.
    """

    def __init__(
        self,
        redis: RedisGateway,
        engine: Engine,
        postgres_breaker: Breaker,
        server: ClickHouse,
        clickhouse_breaker: Breaker,
        instruments: Instruments,
        *,
        on_restart: Callable[[], None] = lambda: None,
        on_detour: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_restart` is called when another run of Redis answers than before, `on_detour` when
        somebody has begun to write beside Redis. Both return at once."""
        self._redis = redis
        self._engine = engine
        self._postgres_breaker = postgres_breaker
        self._server = server
        self._clickhouse_breaker = clickhouse_breaker
        self._on_restart = on_restart
        self._on_detour = on_detour
        self._saw_detours = False
        self.whole_at = float("-inf")
        self._renewing = threading.Lock()
        self._thread = PeriodicThread(
            "lease",
            self._renew,
            lambda: RENEW_SECONDS,
            # Nor is there a lease after what nobody foresaw; readers ask every tier instead.
            "lease_not_renewed",
            on_failure=partial(instruments.round_failed, "lease"),
            is_wanted=lambda: time.monotonic() - self._used_at < IDLE_SECONDS,
        )
        self._standing = UNKNOWN
        self._until = 0.0
        self._used_at = 0.0
        self._postgres_outages = -1
        self._run_id = ""
        self._trouble_at = float("-inf")

    def current(self, *, wait: bool = True) -> Completeness:
        """What may be believed at this moment.

        The first to ask after a pause asks PostgreSQL itself, unless it is not to wait.
        """
        now = self._used_at = time.monotonic()
        if now >= self._until and not self._thread.is_running:
            if wait:
                with budget.within(ASKING_SECONDS):
                    self._thread.round()
            self._thread.begin()
            now = time.monotonic()
        return self._standing if now < self._until else UNKNOWN

    def last_known(self) -> Completeness:
        """What was to be believed when PostgreSQL was last asked; nothing if it never was."""
        return self._standing

    def _renew(self) -> None:
        # Whoever comes while another asks does without rather than wait.
        if not self._renewing.acquire(blocking=False):
            return
        try:
            # Without an answer there is no lease; the breaker says why.
            with suppress(TierError):
                started = time.monotonic()
                self._standing = self._look()
                self._until = started + LEASE_SECONDS
                if self._standing.postgres_complete:
                    self.whole_at = started
        finally:
            self._renewing.release()

    def _look(self) -> Completeness:
        with self._postgres_breaker.guard(), translated(), self._engine.connect() as connection:
            row = connection.execute(_STANDING).one()
        if row.detours and not self._saw_detours:
            self._on_detour()
        self._saw_detours = row.detours
        if row.clickhouse:
            # Somebody else saw PostgreSQL out, and says so now.
            self._postgres_outages = -1
        found = self._identity()
        if found is not None and found.installation not in {"", row.installation}:
            self._redis.breaker.open(FOREIGN)
        if found is None or row.detours:
            self._trouble_at = time.monotonic()
        postgres_complete = self._nobody_writes_beside_it()
        if found is None or row.backfill or row.detours or not postgres_complete:
            return Completeness(postgres_complete=postgres_complete)
        known = (row.run_id, row.installation) == (found.run_id, found.installation)
        return Completeness(known, known and row.keys and not found.has_evicted, True)

    def _identity(self) -> RedisIdentity | None:
        """Which Redis answers, if one does; another than before was out meanwhile."""
        try:
            with self._redis.guarded() as client:
                found = identity(client)
        except TierError:
            return None
        if found.run_id != self._run_id:
            self._trouble_at = time.monotonic()
            if self._run_id:
                self._on_restart()
            self._run_id = found.run_id
        return found

    def _nobody_writes_beside_it(self) -> bool:
        """Whether ClickHouse has nothing, and is given nothing, that PostgreSQL lacks."""
        outages = self._postgres_breaker.state().opened
        if self._postgres_outages == outages and not self._is_in_trouble():
            return True
        try:
            with self._clickhouse_breaker.guard():
                if direct_writes.has_direct_writers(self._server):
                    return False
        except TierError:
            return False
        self._postgres_outages = outages
        return True

    def _is_in_trouble(self) -> bool:
        return (
            self._redis.breaker.was_open_within(TROUBLE_SECONDS)
            or time.monotonic() - self._trouble_at < TROUBLE_SECONDS
        )
