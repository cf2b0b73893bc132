"""Puts together what keeps a process going while a tier is out, over its tiers, on first use."""

from functools import cached_property, partial

from jobs.recover.direct_writes import HandoffService
from jobs.recover.redis import RedisRecoveryService
from jobs.replicate.row_outbox import ship_these
from storage.availability.bypass import (
    BypassRegistration,
    beside_postgresql,
    beside_redis,
    note_clickhouse,
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
from storage.postgres.driver import transact
from storage.redis import client
from storage.redis.log_quota import LogQuota
from storage.states.clickhouse import StateCopies
from storage.states.failover import StateChain
from storage.states.postgres import StateRows
from storage.tiers import OnFirstUse, Tiers

_made = OnFirstUse["FailoverServices"]()


class FailoverServices:
    """The chain of a write, the lease of a reader, and the way back after an outage."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    loss_audit = _made(lambda own: LossAudit(own._tiers.redis, own._tiers.request_engine))

    @cached_property
    def key_publisher(self) -> KeyPublisher:
        recent = RecentKeys(self._tiers.settings.idempotency_seconds)
        return KeyPublisher(recent, self._tiers.quick_engine, self.clickhouse_keys)

    @cached_property
    def clickhouse_keys(self) -> ClickHouseKeys:
        settings = self._tiers.settings
        server = self._tiers.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        return ClickHouseKeys(server, self._tiers.breakers.clickhouse, settings.idempotency_seconds)

    lease = _made(
        lambda own: Lease(
            own._tiers.redis_door,
            own._tiers.watch_engine,
            own._tiers.clickhouse_within(own._tiers.settings.clickhouse_write_timeout_seconds),
            own._tiers.breakers,
            own._tiers.instruments,
            on_restart=own.loss_audit.schedule,
            on_bypass=own.key_publisher.publish_async,
        )
    )

    @cached_property
    def bypass(self) -> BypassRegistration:
        bypass = beside_redis(self._tiers.quick_engine, self._tiers.request_engine)
        self._tiers.breakers.redis.on_closed.append(bypass.expire)
        return bypass

    log_quota = _made(lambda own: LogQuota(own._tiers.redis_door, own._tiers.settings))

    @cached_property
    def state_chain(self) -> StateChain:
        settings, breakers = self._tiers.settings, self._tiers.breakers
        rows = StateRows(
            self._tiers.postgres,
            self._tiers.quick_engine,
            breakers.postgresql,
            self.bypass,
            settings.shards,
        )
        server = self._tiers.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        ship = partial(ship_these, self._tiers.request_engine, server, breakers.clickhouse)
        return StateChain(
            self._tiers.state_cache,
            rows,
            StateCopies(server, breakers.clickhouse, ship),
            self.lease,
            self.log_quota,
            breakers.postgresql,
            self._tiers.instruments,
        )

    retrieval = _made(
        lambda own: UnifiedMessageRetrievalService(
            own._tiers.reads, own.lease, own._tiers.instruments
        )
    )

    @cached_property
    def writes(self) -> MessageFailoverService:
        settings, breakers = self._tiers.settings, self._tiers.breakers
        keys_seconds = settings.idempotency_seconds
        breakers.redis.on_opened.append(self.key_publisher.publish_async)
        postgres = DirectPostgres(
            self._tiers.quick_engine,
            self._tiers.request_engine,
            breakers.postgresql,
            self.bypass,
            slots=settings.shards,
            idempotency_seconds=keys_seconds,
        )
        watch_client = client.probe_client(settings)
        server = self._tiers.clickhouse_within(settings.clickhouse_write_timeout_seconds)
        clickhouse = DirectClickHouse(
            server,
            breakers,
            self.clickhouse_keys,
            beside_postgresql(server),
            partial(transact, self._tiers.quick_engine, note_clickhouse),
        )
        breakers.postgresql.on_closed.append(clickhouse.announce)
        keys = IdempotencyGuard(
            self.key_publisher,
            self.clickhouse_keys,
            self.lease,
            breakers,
            watch_client,
            self._tiers.instruments,
        )
        return MessageFailoverService(
            RedisWrites(
                self._tiers.redis,
                self._tiers.redis_repair,
                postgres,
                self.lease,
                self.log_quota,
                self.loss_audit,
                keys,
                keys_seconds,
            ),
            postgres,
            clickhouse,
            keys,
            breakers,
            self._tiers.instruments,
        )

    redis_recovery = _made(lambda own: RedisRecoveryService(own._tiers))
    handoff = _made(lambda own: HandoffService(own._tiers))
