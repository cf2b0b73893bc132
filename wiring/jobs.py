"""Puts together what carries messages on, proves them and lets them go, on first use."""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from jobs.archive.run import ArchiveService
from jobs.audit import AuditTrail
from jobs.consistency.checker import ThreeTierConsistencyChecker
from jobs.erase.policies import RetentionPolicies
from jobs.erase.purge import PhysicalErasure
from jobs.erase.retention import RetentionService
from jobs.erase.threads import ErasureService
from jobs.erase.users import UserErasureService
from jobs.monitor.heads_webhook import HeadsWebhook
from jobs.monitor.operator_receipts import OperatorReceiptService
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
from jobs.replicate.row_outbox import RowCopies
from jobs.transfer.backup.restore import RestoreService
from jobs.transfer.backup.write import BackupService
from jobs.transfer.export import MessageExporter
from jobs.verify.verification import ChainVerifier
from storage.errors import TierError
from storage.identity.service import CredentialService
from storage.messages.receipts import ReceiptService
from storage.tiers import OnFirstUse, Tiers
from wiring.failover import FailoverServices

_made = OnFirstUse["JobServices"]()


class JobServices:
    """What workers, beat and operators do with what was acknowledged."""

    def __init__(self, tiers: Tiers, failover: FailoverServices) -> None:
        self._tiers = tiers
        self._failover = failover

    persistence = _made(
        lambda own: BackgroundPersistenceService(own._tiers, own._tiers.pending_log)
    )
    replication = _made(lambda own: ReplicationService(own._tiers))
    audit = _made(lambda own: AuditTrail(own._tiers.job_engine, own._tiers.clock))
    operator_receipts = _made(
        lambda own: OperatorReceiptService(ReceiptService(own._tiers.reads), own.audit)
    )
    audit_outbox = _made(lambda own: audit_outbox(own._tiers))

    @cached_property
    def credentials(self) -> CredentialService:
        tiers = self._tiers

        def heard() -> None:
            # The change is made, whether or not this process can hear of it just now.
            with suppress(TierError):
                tiers.credentials.refresh()

        return CredentialService(tiers.job_engine, tiers.clock, self.audit.record, heard)

    archive = _made(lambda own: ArchiveService(own._tiers, own.replication, own.audit))
    row_copies = _made(lambda own: RowCopies(own._tiers))

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

    exporter = _made(lambda own: MessageExporter(own._tiers, own.persistence))

    @cached_property
    def backup(self) -> BackupService:
        def gather() -> None:
            self._failover.handoff.replay()
            self.exporter.drain()
            self.replication.ship_all()

        return BackupService(self._tiers, self.audit, gather)

    restore = _made(
        lambda own: RestoreService(own._tiers, own._failover.redis_recovery, own.audit, own.ships)
    )
    dead_letters = _made(lambda own: DeadLetterService(own._tiers, own.audit))
    upkeep = _made(lambda own: UpkeepService(own._tiers))
    erasure = _made(lambda own: ErasureService(own._tiers))
    consistency_checker = _made(
        lambda own: ThreeTierConsistencyChecker(
            own._tiers, own.drain_pipeline, own.persistence, own.audit
        )
    )

    def drain_pipeline(self) -> None:
        """Drains every queue between the tiers, as workers do all the time. Raises `TierError`."""
        self.persistence.drain_backlog()
        self._failover.redis_recovery.reconcile()
        self._failover.handoff.replay()
        self.replication.ship_all()

    verifier = _made(lambda own: ChainVerifier(own._tiers, own.drain_pipeline))
    heads_webhook = _made(lambda own: HeadsWebhook(own._tiers))
    user_erasure = _made(lambda own: UserErasureService(own._tiers, own.row_copies, own.audit))
    retention_policies = _made(lambda own: RetentionPolicies(own._tiers.job_engine, own.audit))
    retention = _made(lambda own: RetentionService(own._tiers, own.audit))
    physical_erasure = _made(lambda own: PhysicalErasure(own._tiers, own.row_copies, own.audit))
