"""One Idempotency-Key, one message, whichever process and whichever tier is asked.

Each process publishes the keys that it acknowledged to the tiers below as soon as Redis is down, or
about to be bypassed; whoever writes to a tier first waits until all have done so.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress

from redis import Redis
from sqlalchemy import Engine

from models.appends import Append, Key
from models.message import Tier
from storage.availability.lease import Lease
from storage.availability.probes import Breakers
from storage.availability.redis_watch import RedisHeartbeat
from storage.clickhouse.idempotency import ClickHouseKeys
from storage.errors import TierError
from storage.messages.append_plan import AcknowledgedBefore, Answer, Ask, ask_remaining, wanted_of
from storage.messages.recent_keys import KEPT_SECONDS, RecentKeys
from storage.postgres import idempotency
from storage.postgres.acting import act_for
from storage.postgres.driver import translated
from storage.resilience.bites import batches
from storage.resilience.breaker import Breaker
from storage.telemetry.instruments import Instruments

UNDRAINED_SECONDS = 30.0
"""What is older is in PostgreSQL, or a worker is not at work, which has other alarms."""

BATCH = 200
"""Few, so that the latest, of which nobody else knows, are there as soon as can be."""

SETTLING_SECONDS = 2.0
"""Longer than a tier that is back is still taken for out by some process."""


class KeyPublisher:
    """Tells the tiers below what this process remembers, each key once. Safe for threads."""

    def __init__(self, recent: RecentKeys, engine: Engine, clickhouse: ClickHouseKeys) -> None:
        self.recent = recent
        self._engine = engine
        self._clickhouse = clickhouse
        self._number_in_postgres = 0
        self._number_in_clickhouse = 0

    def publish_async(self) -> None:
        """Does so in a thread, which fails silently: there will be another chance."""
        threading.Thread(target=self._publish_quietly, name="tell-keys", daemon=True).start()

    def publish_to_postgres(self) -> None:
        """Tells PostgreSQL what a drain may not have brought it. Raises `TierUnavailable`."""
        found, number = self.recent.after(self._number_in_postgres, UNDRAINED_SECONDS)
        # The latest first.
        for batch in map(dict, batches(found.items(), BATCH)):
            with translated(), self._engine.begin() as connection:
                act_for(connection, (key.user_id for key in batch))
                gone = {key: one.instead_of for key, one in batch.items() if one.instead_of}
                idempotency.free(connection, gone)
                idempotency.tell(connection, batch)
        self._number_in_postgres = max(number, self._number_in_postgres)

    def publish_to_clickhouse(self) -> None:
        """Tells ClickHouse all that somebody may still repeat. Raises `TierError`."""
        made, number = self.recent.after(self._number_in_clickhouse, KEPT_SECONDS)
        self._clickhouse.tell(made)
        self._number_in_clickhouse = max(number, self._number_in_clickhouse)

    def hash_of(self, key: Key, message_id: str) -> str:
        """The hash of the message that a key made, as far as anybody who answers was told; else
        empty."""
        found = self.recent.hash_of(key, message_id)
        with suppress(TierError):
            if not found:
                with translated(), self._engine.begin() as connection:
                    act_for(connection, [key.user_id])
                    found = idempotency.hash_of(connection, key, message_id)
        with suppress(TierError):
            found = found or self._clickhouse.hash_of(key, message_id)
        return found

    def _publish_quietly(self) -> None:
        with suppress(TierError):
            self.publish_to_postgres()


class IdempotencyGuard:
    """What is done about keys around a tier's own way to take new messages."""

    def __init__(
        self,
        publisher: KeyPublisher,
        clickhouse: ClickHouseKeys,
        lease: Lease,
        breakers: Breakers,
        watch_client: Redis,
        instruments: Instruments,
    ) -> None:
        """`watch_client` is for looking at Redis when no request does."""
        self._recent = publisher.recent
        self.hash_of = publisher.hash_of
        self._clickhouse = clickhouse
        self._lease = lease
        self._faster: dict[Tier, Breaker] = {
            "redis": breakers.redis,
            "postgresql": breakers.postgresql,
        }
        self.watch = RedisHeartbeat(
            watch_client,
            breakers.redis,
            instruments,
            is_wanted=lambda: publisher.recent.is_any,
            on_down=publisher.publish_to_clickhouse,
        )

    def checking(self, tier: Tier, ask: Ask) -> Ask:
        """A tier's way to take new messages, asked only for what is not acknowledged already."""

        def append(appends: Sequence[Append]) -> Sequence[Answer]:
            known = AcknowledgedBefore({}, self.replaying(tier, appends))
            answers = ask_remaining(appends, known, ask) if known.made else ask(appends)
            self.recording(tier, appends, answers)
            return answers

        return append

    def replaying(self, tier: Tier, appends: Sequence[Append]) -> dict[Key, str]:
        """What keys have made, as far as the tier itself may not know: by this process, and by
        ClickHouse while the faster tiers were down."""
        wanted = wanted_of(appends)
        if not wanted:
            return {}
        breaker = self._faster.get(tier)
        asks = breaker is not None and breaker.is_closed and self._may_clickhouse_know_more()
        known = self._recent.known(wanted) if asks or tier != "redis" else {}
        if asks:
            # Where it does not answer either, a double that comes of it is buried in the end.
            with suppress(TierError):
                known |= self._clickhouse.made(
                    {key: gone for key, gone in wanted.items() if key not in known}
                )
        return known

    def recording(self, tier: Tier, appends: Sequence[Append], answers: Sequence[Answer]) -> None:
        """Notes what a tier took, before it is acknowledged.

        While a process may still find both of the faster tiers down, one of which is back for this
        one, ClickHouse is told of it too: there that process would look.
        """
        made = self._recent.note(appends, answers)
        if not made:
            return
        self.watch.begin()
        if tier != "clickhouse" and self._are_settling():
            with suppress(TierError):
                self._clickhouse.tell(made)

    def _may_clickhouse_know_more(self) -> bool:
        """Whether keys may be known there and nowhere else that answers."""
        complete = self._lease.current(wait=False)
        if complete.is_known:
            return not complete.postgres_complete
        # PostgreSQL does not answer. Nobody wrote to ClickHouse if Redis was well all the time.
        return self.watch.well_since > self._lease.complete_at

    def _are_settling(self) -> bool:
        return all(breaker.was_open_within(SETTLING_SECONDS) for breaker in self._faster.values())
