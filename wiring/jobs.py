"""Puts together what carries messages on, proves them and lets them go, on first use."""

from functools import cached_property

from jobs.archive.known_versions import ArchivedVersions
from jobs.archive.run import ArchiveService
from jobs.audit import AuditTrail
from jobs.consistency.checker import ThreeTierConsistencyChecker
from jobs.erase.policies import RetentionPolicies
from jobs.erase.purge import PhysicalErasure
from jobs.erase.retention import RetentionService
from jobs.erase.threads import ErasureService
from jobs.erase.users import UserErasureService
from jobs.monitor.upkeep import UpkeepService
from jobs.persist.dead_letter_copies import RefusedCopies
from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import BackgroundPersistenceService
from jobs.recover.disaster import DisasterRecoveryService
from jobs.recover.from_clickhouse import FromClickHouse
from jobs.recover.from_postgres import FromPostgreSQL
from jobs.recover.opening import Bootstrap
from jobs.recover.redis_copies import HotCopies
from jobs.recover.runs import CLICKHOUSE, POSTGRESQL
from jobs.replicate.message_outbox import ReplicationService
from jobs.replicate.row_outbox import RowCopies
from jobs.transfer.backup.restore import RestoreService
from jobs.transfer.backup.signing import key_of
from jobs.transfer.backup.write import BackupService
from jobs.transfer.export import MessageExporter
from wiring.failover import FailoverServices


class MaintenanceServices(FailoverServices):
    """What workers, beat and operators do with what was acknowledged."""

    @cached_property
    def persistence(self) -> BackgroundPersistenceService:
        settings = self.settings
        return BackgroundPersistenceService(
            self.pending_log,
            self.request_engine,
            self.breakers.postgresql,
            self.clock,
            self.instruments,
            batch_messages=settings.drain_batch_messages,
            idempotency_seconds=settings.idempotency_seconds,
        )

    @cached_property
    def replication(self) -> ReplicationService:
        server = self.clickhouse_within(self.settings.ship_timeout_seconds)
        return ReplicationService(
            self.job_engine,
            server,
            self.breakers.clickhouse,
            self.instruments,
            self.settings.ship_batch_messages,
        )

    @cached_property
    def audit(self) -> AuditTrail:
        server = self.clickhouse_within(self.settings.ship_timeout_seconds)
        return AuditTrail(self.job_engine, server, self.breakers.clickhouse, self.clock)

    @cached_property
    def archive(self) -> ArchiveService:
        return ArchiveService(self, self.replication, self.audit)

    @cached_property
    def archived(self) -> ArchivedVersions:
        return ArchivedVersions(self)

    @cached_property
    def row_copies(self) -> RowCopies:
        server = self.clickhouse_within(self.settings.ship_timeout_seconds)
        return RowCopies(self.job_engine, server, self.breakers.clickhouse)

    @cached_property
    def disaster_recovery(self) -> DisasterRecoveryService:
        settings, engine = self.settings, self.job_engine
        slots = settings.shards
        opening = Bootstrap(
            engine,
            self.job_clickhouse,
            self.redis_client,
            self.audit,
            slots,
            settings.partition_weeks_ahead,
        )
        hot_copies = HotCopies(engine, self.redis_door, slots)
        replay = self.homecoming.replay
        ships = (self.replication.ship_all, self.row_copies.ship, self.audit.ship)
        return DisasterRecoveryService(
            self.notices,
            engine,
            self.job_clickhouse,
            opening,
            {
                CLICKHOUSE: FromClickHouse(
                    engine, self.job_clickhouse, opening, hot_copies, replay, slots
                ),
                POSTGRESQL: FromPostgreSQL(engine, self.job_clickhouse, self.audit, ships),
            },
            self.redis_recovery,
            self.audit,
            self.clock,
        )

    @cached_property
    def backup(self) -> BackupService:
        exporter = MessageExporter(
            self.job_engine, self.job_clickhouse, self.pending_log, self.persistence
        )

        def gather() -> None:
            self.homecoming.replay()
            exporter.drain()

        return BackupService(
            self.job_engine,
            self.job_clickhouse,
            gather,
            self.audit,
            self.clock,
            key_of(self.settings.jwt_secret),
        )

    @cached_property
    def restore(self) -> RestoreService:
        settings = self.settings
        return RestoreService(
            self.job_engine,
            self.job_clickhouse,
            self.redis_recovery,
            self.audit,
            (self.replication.ship_all, self.row_copies.ship, self.audit.ship),
            settings.shards,
            settings.partition_weeks_ahead,
            key_of(settings.jwt_secret),
        )

    @cached_property
    def dead_letters(self) -> DeadLetterService:
        copies = RefusedCopies(
            self.redis_door,
            self.redis,
            self.redis_repair,
            self.pending_log,
            self.settings.hot_seconds,
        )
        return DeadLetterService(self.job_engine, copies, self.audit)

    @cached_property
    def upkeep(self) -> UpkeepService:
        return UpkeepService(self.redis_door, self.pending_log, self.job_engine)

    @cached_property
    def erasure(self) -> ErasureService:
        return ErasureService(self)

    @cached_property
    def consistency_checker(self) -> ThreeTierConsistencyChecker:
        return ThreeTierConsistencyChecker(self, self.carry, self.persistence, self.audit)

    def carry(self) -> None:
        """Empties every road between the tiers, as workers do all the time. Raises `TierError`."""
        self.persistence.drain_backlog()
        self.redis_recovery.reconcile()
        self.homecoming.replay()
        self.replication.ship_all()

    @cached_property
    def user_erasure(self) -> UserErasureService:
        return UserErasureService(self, self.row_copies, self.audit)

    @cached_property
    def retention_policies(self) -> RetentionPolicies:
        return RetentionPolicies(self.job_engine, self.audit)

    @cached_property
    def retention(self) -> RetentionService:
        return RetentionService(self, self.audit)

    @cached_property
    def physical_erasure(self) -> PhysicalErasure:
        return PhysicalErasure(self, self.row_copies, self.audit)
