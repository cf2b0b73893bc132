"""Puts the tiers and services of one process together, from its settings, on first use."""

import time
from contextlib import suppress
from functools import cached_property

import structlog
from redis import Redis
from sqlalchemy import Engine

from models.ids import Clock
from models.message import Durability
from settings import Settings
from storage import connections, faultpoints
from storage.clickhouse_driver import ClickHouse
from storage.clickhouse_tier import ClickHouseTier
from storage.dead_letter_copies import RefusedCopies
from storage.dead_letters import DeadLetterService
from storage.erasure import ErasureService
from storage.errors import TierUnavailable
from storage.failover.chain import MessageFailoverService
from storage.failover.clickhouse_keys import ClickHouseKeys
from storage.failover.detour import Detour
from storage.failover.direct_clickhouse import DirectClickHouse
from storage.failover.direct_postgres import DirectPostgres
from storage.failover.homecoming import HomecomingService
from storage.failover.lease import Lease
from storage.failover.lost_and_found import LostAndFound
from storage.failover.probes import Breakers
from storage.failover.recent_keys import RecentKeys
from storage.failover.redis_recovery import RedisRecoveryService
from storage.failover.redis_writes import RedisWrites
from storage.failover.room import RedisRoom
from storage.failover.shared_keys import SharedKeys, ToldKeys
from storage.message_retrieval import UnifiedMessageRetrievalService
from storage.message_storage import UnifiedMessageStorageService
from storage.pending_log import PendingLog
from storage.persistence import BackgroundPersistenceService
from storage.postgres_tier import PostgresTier
from storage.receipts import ReceiptService
from storage.redis_driver import RedisDoor
from storage.redis_repair import RedisRepair
from storage.redis_tier import RedisTier
from storage.replication import ReplicationService
from storage.thread_storage import ThreadService

log = structlog.get_logger(__name__)

DURABILITY_RECHECK_SECONDS = 30.0


class Services:
    """One process's way to everything below. Nothing connects before it is asked for.

    Made after a fork, never before: connections do not survive one. Raises `SettingsError` for
    fault points that the settings misspell.
    """

    def __init__(self, settings: Settings) -> None:
        faultpoints.arm(settings)
        self.settings = settings
        self._durability: tuple[Durability, float] = ("memory", 0.0)

    @cached_property
    def clock(self) -> Clock:
        return Clock()

    @cached_property
    def redis_client(self) -> Redis:
        return connections.redis_client(self.settings)

    @cached_property
    def request_engine(self) -> Engine:
        return connections.request_engine(self.settings)

    @cached_property
    def job_engine(self) -> Engine:
        return connections.job_engine(self.settings)

    @cached_property
    def quick_engine(self) -> Engine:
        return connections.quick_engine(self.settings)

    @cached_property
    def job_clickhouse(self) -> ClickHouse:
        return self._clickhouse_within(self.settings.clickhouse_job_timeout_seconds)

    @cached_property
    def breakers(self) -> Breakers:
        return Breakers(self.settings, self.quick_engine)

    @cached_property
    def redis_door(self) -> RedisDoor:
        return RedisDoor(
            self.redis_client, self.breakers.redis, connections.replicas(self.settings)
        )

    @cached_property
    def redis(self) -> RedisTier:
        settings = self.settings
        return RedisTier(self.redis_door, slots=settings.shards, hot_seconds=settings.hot_seconds)

    @cached_property
    def redis_repair(self) -> RedisRepair:
        return RedisRepair(self.redis_door, self.redis, hot_seconds=self.settings.hot_seconds)

    @cached_property
    def pending_log(self) -> PendingLog:
        settings = self.settings
        return PendingLog(
            self.redis_door,
            slots=settings.shards,
            hot_seconds=settings.hot_seconds,
            hot_page=settings.hot_page_messages,
        )

    @cached_property
    def postgres(self) -> PostgresTier:
        return PostgresTier(self.request_engine, self.breakers.postgresql)

    @cached_property
    def clickhouse(self) -> ClickHouseTier:
        server = self._clickhouse_within(self.settings.clickhouse_timeout_seconds)
        return ClickHouseTier(server, self.breakers.clickhouse)

    @cached_property
    def lost_and_found(self) -> LostAndFound:
        return LostAndFound(self.redis, self.request_engine)

    @cached_property
    def clickhouse_keys(self) -> ClickHouseKeys:
        settings = self.settings
        server = self._clickhouse_within(settings.clickhouse_write_timeout_seconds)
        return ClickHouseKeys(server, self.breakers.clickhouse, settings.idempotency_seconds)

    @cached_property
    def told_keys(self) -> ToldKeys:
        recent = RecentKeys(self.settings.idempotency_seconds)
        return ToldKeys(recent, self.quick_engine, self.clickhouse_keys)

    @cached_property
    def lease(self) -> Lease:
        breakers = self.breakers
        server = self._clickhouse_within(self.settings.clickhouse_write_timeout_seconds)
        return Lease(
            self.redis_door,
            self.quick_engine,
            breakers.postgresql,
            server,
            breakers.clickhouse,
            on_restart=self.lost_and_found.search_later,
            on_detour=self.told_keys.tell_postgres_soon,
        )

    @cached_property
    def retrieval(self) -> UnifiedMessageRetrievalService:
        return UnifiedMessageRetrievalService(
            self.redis, self.postgres, self.clickhouse, self.lease
        )

    @cached_property
    def failover(self) -> MessageFailoverService:
        settings, breakers = self.settings, self.breakers
        keys_seconds = settings.idempotency_seconds
        detour = Detour(self.quick_engine)
        breakers.redis.on_opened.append(self.told_keys.tell_postgres_soon)
        breakers.redis.on_closed.append(detour.forget)
        postgres = DirectPostgres(
            self.quick_engine,
            self.request_engine,
            breakers.postgresql,
            detour,
            slots=settings.shards,
            idempotency_seconds=keys_seconds,
        )
        watch_client = connections.probe_client(settings)
        server = self._clickhouse_within(settings.clickhouse_write_timeout_seconds)
        clickhouse = DirectClickHouse(
            server,
            breakers.clickhouse,
            self.clickhouse_keys,
            detour,
            redis_breaker=breakers.redis,
            postgres_breaker=breakers.postgresql,
        )
        breakers.postgresql.on_closed.append(clickhouse.say_so)
        keys = SharedKeys(self.told_keys, self.clickhouse_keys, self.lease, breakers, watch_client)
        room = RedisRoom(self.redis_door, slots=settings.shards, log_share=settings.redis_log_share)
        return MessageFailoverService(
            RedisWrites(
                self.redis,
                self.redis_repair,
                postgres,
                self.lease,
                room,
                self.lost_and_found,
                keys_seconds,
            ),
            postgres,
            clickhouse,
            keys,
            breakers,
        )

    @cached_property
    def messages(self) -> UnifiedMessageStorageService:
        return UnifiedMessageStorageService(
            self.failover,
            self.retrieval,
            clock=self.clock,
            slots=self.settings.shards,
            redis_durability=self.redis_durability,
        )

    @cached_property
    def threads(self) -> ThreadService:
        return ThreadService(self.redis, self.postgres, self.failover, self.clock)

    @cached_property
    def persistence(self) -> BackgroundPersistenceService:
        settings = self.settings
        return BackgroundPersistenceService(
            self.pending_log,
            self.request_engine,
            self.breakers.postgresql,
            self.clock,
            batch_messages=settings.drain_batch_messages,
            idempotency_seconds=settings.idempotency_seconds,
        )

    @cached_property
    def redis_recovery(self) -> RedisRecoveryService:
        settings = self.settings
        return RedisRecoveryService(
            self.request_engine,
            self.redis_door,
            self.redis,
            self.redis_repair,
            self.postgres,
            idempotency_seconds=settings.idempotency_seconds,
            hot_page=settings.hot_page_messages,
        )

    @cached_property
    def homecoming(self) -> HomecomingService:
        return HomecomingService(
            self.request_engine,
            self._clickhouse_within(self.settings.ship_timeout_seconds),
            self.breakers.clickhouse,
            self.clock,
            self.settings.idempotency_seconds,
            self.settings.shards,
        )

    @cached_property
    def replication(self) -> ReplicationService:
        server = self._clickhouse_within(self.settings.ship_timeout_seconds)
        return ReplicationService(
            self.job_engine, server, self.breakers.clickhouse, self.settings.ship_batch_messages
        )

    @cached_property
    def receipts(self) -> ReceiptService:
        return ReceiptService(self.redis, self.postgres, self.clickhouse)

    @cached_property
    def dead_letters(self) -> DeadLetterService:
        copies = RefusedCopies(
            self.redis_door,
            self.redis,
            self.redis_repair,
            self.pending_log,
            self.settings.hot_seconds,
        )
        return DeadLetterService(self.job_engine, copies)

    @cached_property
    def erasure(self) -> ErasureService:
        return ErasureService(self.job_engine, self.redis_repair, self.clock)

    def _clickhouse_within(self, seconds: float) -> ClickHouse:
        return ClickHouse(self.settings.clickhouse_url, seconds)

    def redis_durability(self) -> Durability:
        """What an acknowledgement from Redis means, looked up again now and then."""
        level, until = self._durability
        if time.monotonic() >= until:
            with suppress(TierUnavailable):
                level = self.redis.durability()
            if level != self._durability[0] or not until:
                report = log.info if level == "fsynced" else log.warning
                report("redis_durability", level=level)
            self._durability = (level, time.monotonic() + DURABILITY_RECHECK_SECONDS)
        return level
