"""Puts together what carries messages on, proves them and lets them go, on first use."""

from collections.abc import Callable
from functools import cached_property

from jobs.archive.run import ArchiveService
from jobs.audit import AuditTrail
from jobs.consistency.checker import ThreeTierConsistencyChecker
from jobs.erase.policies import RetentionPolicies
from jobs.erase.purge import PhysicalErasure
from jobs.erase.retention import RetentionService
from jobs.erase.threads import ErasureService
from jobs.erase.users import UserErasureService
from jobs.monitor.upkeep import UpkeepService
from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import BackgroundPersistenceService
from jobs.recover.bootstrap import Bootstrap
from jobs.recover.disaster import DisasterRecoveryService
from jobs.recover.from_clickhouse import FromClickHouse
from jobs.recover.from_postgres import FromPostgreSQL
from jobs.recover.runs import CLICKHOUSE, POSTGRESQL
from jobs.replicate.audit_outbox import audit_outbox
from jobs.replicate.message_outbox import ReplicationService
from jobs.replicate.outbox import ClickHouseOutbox
from jobs.replicate.row_outbox import RowCopies
from jobs.transfer.backup.restore import RestoreService
from jobs.transfer.backup.write import BackupService
from jobs.transfer.export import MessageExporter
from storage.tiers import Tiers
from wiring.failover import FailoverServices


class JobServices:
    """What workers, beat and operators do with what was acknowledged."""

    def __init__(self, tiers: Tiers, failover: FailoverServices) -> None:
        self._tiers = tiers
        self._failover = failover

    @cached_property
    def persistence(self) -> BackgroundPersistenceService:
        return BackgroundPersistenceService(self._tiers, self._tiers.pending_log)

    @cached_property
    def replication(self) -> ReplicationService:
        return ReplicationService(self._tiers)

    @cached_property
    def audit(self) -> AuditTrail:
        return AuditTrail(self._tiers.job_engine, self._tiers.clock)

    @cached_property
    def audit_outbox(self) -> ClickHouseOutbox:
        return audit_outbox(self._tiers)

    @cached_property
    def archive(self) -> ArchiveService:
        return ArchiveService(self._tiers, self.replication, self.audit)

    @cached_property
    def row_copies(self) -> RowCopies:
        return RowCopies(self._tiers)

    @cached_property
    def disaster_recovery(self) -> DisasterRecoveryService:
        bootstrap = Bootstrap(self._tiers, self.audit)
        replay = self._failover.handoff.replay
        return DisasterRecoveryService(
            self._tiers,
            bootstrap,
            {
                CLICKHOUSE: FromClickHouse(self._tiers, bootstrap, replay).run,
                POSTGRESQL: FromPostgreSQL(self._tiers, self.audit, self.ships).run,
            },
            self._failover.redis_recovery,
            self.audit,
        )

    @property
    def ships(self) -> tuple[Callable[[], object], ...]:
        """What carries the queues of PostgreSQL to ClickHouse, messages first."""
        return self.replication.ship_all, self.row_copies.ship, self.audit_outbox.ship_all

    @cached_property
    def exporter(self) -> MessageExporter:
        return MessageExporter(self._tiers, self.persistence)

    @cached_property
    def backup(self) -> BackupService:
        def gather() -> None:
            self._failover.handoff.replay()
            self.exporter.drain()

        return BackupService(self._tiers, self.audit, gather)

    @cached_property
    def restore(self) -> RestoreService:
        return RestoreService(self._tiers, self._failover.redis_recovery, self.audit, self.ships)

    @cached_property
    def dead_letters(self) -> DeadLetterService:
        return DeadLetterService(self._tiers, self.audit)

    @cached_property
    def upkeep(self) -> UpkeepService:
        return UpkeepService(self._tiers)

    @cached_property
    def erasure(self) -> ErasureService:
        return ErasureService(self._tiers)

    @cached_property
    def consistency_checker(self) -> ThreeTierConsistencyChecker:
        return ThreeTierConsistencyChecker(
            self._tiers, self.drain_pipeline, self.persistence, self.audit
        )

    def drain_pipeline(self) -> None:
        """Drains every queue between the tiers, as workers do all the time. Raises `TierError`."""
        self.persistence.drain_backlog()
        self._failover.redis_recovery.reconcile()
        self._failover.handoff.replay()
        self.replication.ship_all()

    @cached_property
    def user_erasure(self) -> UserErasureService:
        return UserErasureService(self._tiers, self.row_copies, self.audit)

    @cached_property
    def retention_policies(self) -> RetentionPolicies:
        return RetentionPolicies(self._tiers.job_engine, self.audit)

    @cached_property
    def retention(self) -> RetentionService:
        return RetentionService(self._tiers, self.audit)

    @cached_property
    def physical_erasure(self) -> PhysicalErasure:
        return PhysicalErasure(self._tiers, self.row_copies, self.audit)
