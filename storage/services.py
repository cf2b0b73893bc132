"""Puts the tiers and services of one process together, from its settings, on first use."""

import time
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
from storage.message_retrieval import UnifiedMessageRetrievalService
from storage.message_storage import UnifiedMessageStorageService
from storage.pending_log import PendingLog
from storage.persistence import BackgroundPersistenceService
from storage.postgres_tier import PostgresTier
from storage.receipts import ReceiptService
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
    def job_clickhouse(self) -> ClickHouse:
        settings = self.settings
        return ClickHouse(settings.clickhouse_url, settings.clickhouse_job_timeout_seconds)

    @cached_property
    def redis(self) -> RedisTier:
        settings = self.settings
        return RedisTier(self.redis_client, slots=settings.shards, hot_seconds=settings.hot_seconds)

    @cached_property
    def pending_log(self) -> PendingLog:
        settings = self.settings
        return PendingLog(
            self.redis_client,
            slots=settings.shards,
            hot_seconds=settings.hot_seconds,
            hot_page=settings.hot_page_messages,
        )

    @cached_property
    def postgres(self) -> PostgresTier:
        return PostgresTier(self.request_engine)

    @cached_property
    def clickhouse(self) -> ClickHouseTier:
        settings = self.settings
        return ClickHouseTier(
            ClickHouse(settings.clickhouse_url, settings.clickhouse_timeout_seconds)
        )

    @cached_property
    def retrieval(self) -> UnifiedMessageRetrievalService:
        return UnifiedMessageRetrievalService(self.redis, self.postgres, self.clickhouse)

    @cached_property
    def messages(self) -> UnifiedMessageStorageService:
        return UnifiedMessageStorageService(
            self.redis,
            self.retrieval,
            clock=self.clock,
            durability=self.redis_durability,
            idempotency_seconds=self.settings.idempotency_seconds,
        )

    @cached_property
    def threads(self) -> ThreadService:
        return ThreadService(self.redis, self.postgres, self.clock)

    @cached_property
    def persistence(self) -> BackgroundPersistenceService:
        return BackgroundPersistenceService(
            self.pending_log, self.job_engine, self.settings.drain_batch_messages
        )

    @cached_property
    def replication(self) -> ReplicationService:
        return ReplicationService(
            self.job_engine, self.job_clickhouse, self.settings.ship_batch_messages
        )

    @cached_property
    def receipts(self) -> ReceiptService:
        return ReceiptService(self.redis, self.postgres, self.clickhouse)

    @cached_property
    def dead_letters(self) -> DeadLetterService:
        copies = RefusedCopies(self.redis, self.pending_log, self.settings.hot_seconds)
        return DeadLetterService(self.job_engine, copies)

    @cached_property
    def erasure(self) -> ErasureService:
        return ErasureService(self.job_engine, self.redis, self.clock)

    def redis_durability(self) -> Durability:
        """What an acknowledgement from Redis means, looked up again now and then."""
        level, until = self._durability
        if time.monotonic() >= until:
            level = self.redis.durability()
            if level != self._durability[0] or not until:
                report = log.info if level == "fsynced" else log.warning
                report("redis_durability", level=level)
            self._durability = (level, time.monotonic() + DURABILITY_RECHECK_SECONDS)
        return level
