"""Puts together what keeps a process going while a tier is out, over its tiers, on first use."""

from functools import cached_property, partial

from jobs.recover.direct_writes import HandoffService
from jobs.recover.redis import RedisRecoveryService
from jobs.replicate.row_outbox import ship_these
from storage.availability.bypass import (
    BypassRegistration,
    beside_postgresql,
    beside_redis,
    say_clickhouse,
)
from storage.availability.lease import Lease
from storage.availability.loss_audit import LossAudit
from storage.clickhouse.idempotency import ClickHouseKeys
from storage.messages.clickhouse_writes import DirectClickHouse
from storage.messages.failover_service import MessageFailoverService
from storage.messages.idempotency import IdempotencyGuard, KeyPublisher
from storage.messages.postgres_writes import DirectPostgres
from storage.messages.recent_keys import RecentKeys
from storage.messages.redis_writes import RedisWrites
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.redis import client
from storage.redis.log_quota import LogQuota
from storage.states.clickhouse import StateCopies
from storage.states.failover import StateChain
from storage.states.postgres import StateRows
from storage.tiers import Tiers


class FailoverServices(Tiers):
    """The chain of a write, the lease of a reader, and the way back after an outage."""

    @cached_property
    def lost_and_found(self) -> LossAudit:
        return LossAudit(self.redis_door, self.redis, self.request_engine)

    @cached_property
    def told_keys(self) -> KeyPublisher:
        recent = RecentKeys(self.settings.idempotency_seconds)
        return KeyPublisher(recent, self.quick_engine, self.clickhouse_keys)

    @cached_property
    def clickhouse_keys(self) -> ClickHouseKeys:
        settings = self.settings
        server = self.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        return ClickHouseKeys(server, self.breakers.clickhouse, settings.idempotency_seconds)

    @cached_property
    def lease(self) -> Lease:
        breakers = self.breakers
        server = self.clickhouse_within(self.settings.clickhouse_write_timeout_seconds)
        return Lease(
            self.redis_door,
            self.watch_engine,
            breakers.postgresql,
            server,
            breakers.clickhouse,
            self.instruments,
            on_restart=self.lost_and_found.schedule,
            on_detour=self.told_keys.publish_async,
        )

    @cached_property
    def detour(self) -> BypassRegistration:
        detour = beside_redis(self.quick_engine, self.request_engine)
        self.breakers.redis.on_closed.append(detour.expire)
        return detour

    @cached_property
    def redis_room(self) -> LogQuota:
        settings = self.settings
        return LogQuota(self.redis_door, slots=settings.shards, log_share=settings.redis_log_share)

    @cached_property
    def state_chain(self) -> StateChain:
        settings, breakers = self.settings, self.breakers
        rows = StateRows(
            self.postgres,
            self.quick_engine,
            breakers.postgresql,
            self.detour,
            slots=settings.shards,
        )
        server = self.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        ship = partial(ship_these, self.request_engine, server, breakers.clickhouse)
        return StateChain(
            self.state_cache,
            rows,
            StateCopies(server, breakers.clickhouse, ship),
            self.lease,
            self.redis_room,
            breakers.postgresql,
            self.instruments,
        )

    @cached_property
    def retrieval(self) -> UnifiedMessageRetrievalService:
        return UnifiedMessageRetrievalService(
            self.redis, self.postgres, self.clickhouse, self.lease, self.instruments
        )

    @cached_property
    def failover(self) -> MessageFailoverService:
        settings, breakers = self.settings, self.breakers
        keys_seconds = settings.idempotency_seconds
        breakers.redis.on_opened.append(self.told_keys.publish_async)
        postgres = DirectPostgres(
            self.quick_engine,
            self.request_engine,
            breakers.postgresql,
            self.detour,
            slots=settings.shards,
            idempotency_seconds=keys_seconds,
        )
        watch_client = client.probe_client(settings)
        server = self.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        clickhouse = DirectClickHouse(
            server,
            breakers.clickhouse,
            self.clickhouse_keys,
            beside_postgresql(server),
            partial(say_clickhouse, self.quick_engine),
            redis_breaker=breakers.redis,
            postgres_breaker=breakers.postgresql,
        )
        breakers.postgresql.on_closed.append(clickhouse.say_so)
        keys = IdempotencyGuard(
            self.told_keys,
            self.clickhouse_keys,
            self.lease,
            breakers,
            watch_client,
            self.instruments,
        )
        return MessageFailoverService(
            RedisWrites(
                self.redis,
                self.redis_repair,
                postgres,
                self.lease,
                self.redis_room,
                self.lost_and_found,
                keys_seconds,
            ),
            postgres,
            clickhouse,
            keys,
            breakers,
            self.instruments,
        )

    @cached_property
    def redis_recovery(self) -> RedisRecoveryService:
        return RedisRecoveryService(self)

    @cached_property
    def homecoming(self) -> HandoffService:
        return HandoffService(self)
