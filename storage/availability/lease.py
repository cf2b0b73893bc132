"""A lease of 0.4 s; while it is valid Redis may answer alone, because nobody writes beside it.

It comes from PostgreSQL, where whoever writes beside Redis registers first and then waits until
every lease given before has run out. Whoever writes beside both registers in ClickHouse.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine

from storage.availability.checks.installation import FOREIGN, RedisIdentity, identity
from storage.availability.probes import Breakers
from storage.clickhouse import direct_writes
from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError
from storage.postgres.driver import execute, translated
from storage.redis.driver import RedisGateway
from storage.resilience import budget
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments

LEASE_SECONDS = 0.4
"""How long a lease holds; a first write beside Redis waits as long before it is acknowledged."""

RENEW_SECONDS = 0.1
ASKING_SECONDS = 1.0
"""A reader that has to renew by itself does without after this long: it has tiers to ask yet."""

TROUBLE_SECONDS = 5.0
"""After this long every process that found Redis down as well has found it back."""

IDLE_SECONDS = 5.0
"""Without a reader for this long the lease is not renewed."""

_COMPLETENESS = """
SELECT run_id, installation::text AS installation, keys_whole_from <= clock_timestamp() AS keys,
       redis_lacks_writes() AS backfill,
       EXISTS (SELECT FROM redis_detours WHERE until > clock_timestamp()) AS detours,
       EXISTS (SELECT FROM redis_detours WHERE in_clickhouse) AS clickhouse
FROM redis_state
"""


class Completeness(NamedTuple):
    """Which tier holds everything: Redis all messages above a floor, Redis all Idempotency-Keys,
    PostgreSQL all that is not archived. Without `is_known` nobody could be asked."""

    redis_complete: bool = False
    keys_complete: bool = False
    postgres_complete: bool = False
    is_known: bool = True


UNKNOWN = Completeness(is_known=False)


class Lease:
    """This process's lease, renewed in the background while somebody reads.

    `complete_at` is when PostgreSQL was last known to hold everything, by the monotonic clock.
    """

    def __init__(
        self,
        redis: RedisGateway,
        engine: Engine,
        server: ClickHouse,
        breakers: Breakers,
        instruments: Instruments,
        *,
        on_restart: Callable[[], None],
        on_bypass: Callable[[], None],
    ) -> None:
        """`on_restart` is called when another run of Redis answers than before, `on_bypass` when
        a process has begun to write beside Redis. Both return at once."""
        self._redis = redis
        self._engine = engine
        self._server = server
        self._breakers = breakers
        self._on_restart = on_restart
        self._on_bypass = on_bypass
        self._saw_bypass = False
        self.complete_at = float("-inf")
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
        self._known = UNKNOWN
        self._until = 0.0
        self._used_at = 0.0
        self._postgres_outages = -1
        self._run_id = ""
        self._trouble_at = float("-inf")

    def current(self, *, wait: bool = True) -> Completeness:
        """What is complete at this moment; `UNKNOWN` without a lease. Never raises.

        After a pause the first reader renews by itself, at most `ASKING_SECONDS`, if it may `wait`.
        """
        now = self._used_at = time.monotonic()
        if now >= self._until and not self._thread.is_running:
            if wait:
                with budget.within(ASKING_SECONDS):
                    self._thread.round()
            self._thread.begin()
            now = time.monotonic()
        return self._known if now < self._until else UNKNOWN

    def last_known(self) -> Completeness:
        """What was complete at the last renewal; `UNKNOWN` before the first."""
        return self._known

    def _renew(self) -> None:
        # Whoever comes while another asks does without rather than wait.
        if not self._renewing.acquire(blocking=False):
            return
        try:
            # Without an answer there is no lease; the breaker says why.
            with suppress(TierError):
                started = time.monotonic()
                self._known = self._ask_tiers()
                self._until = started + LEASE_SECONDS
                if self._known.postgres_complete:
                    self.complete_at = started
        finally:
            self._renewing.release()

    def _ask_tiers(self) -> Completeness:
        guard = self._breakers.postgresql.guard()
        with guard, translated(), self._engine.connect() as connection:
            row = execute(connection, _COMPLETENESS).one()
        if row.detours and not self._saw_bypass:
            self._on_bypass()
        self._saw_bypass = row.detours
        if row.clickhouse:
            # Another process saw PostgreSQL down, and says so now.
            self._postgres_outages = -1
        found = self._identity()
        if found is not None and found.installation not in {"", row.installation}:
            self._breakers.redis.open(FOREIGN)
        if found is None or row.detours:
            self._trouble_at = time.monotonic()
        postgres_complete = self._nobody_writes_beside_it()
        if found is None or row.backfill or row.detours or not postgres_complete:
            return Completeness(postgres_complete=postgres_complete)
        known = (row.run_id, row.installation) == (found.run_id, found.installation)
        return Completeness(known, known and row.keys and not found.has_evicted, True)

    def _identity(self) -> RedisIdentity | None:
        """Which Redis answers, if one does; another run than before was down meanwhile."""
        try:
            found: RedisIdentity = self._redis.ask(identity)
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
        outages = self._breakers.postgresql.state().opened
        is_in_trouble = (
            self._breakers.redis.was_open_within(TROUBLE_SECONDS)
            or time.monotonic() - self._trouble_at < TROUBLE_SECONDS
        )
        if self._postgres_outages == outages and not is_in_trouble:
            return True
        try:
            with self._breakers.clickhouse.guard():
                if direct_writes.has_direct_writers(self._server):
                    return False
        except TierError:
            return False
        self._postgres_outages = outages
        return True
