"""Archiving: what is asked for, and who does it, one at a time."""

from collections.abc import Iterator

import structlog
from sqlalchemy import text

from jobs.archive import catalogue
from jobs.archive.fence import only_archiver
from jobs.archive.run import ArchiveCounts, ArchiveRequest, ArchiveRun
from jobs.archive.tiering import Partition, TieringRules
from jobs.audit import AuditTrail
from jobs.replicate.message_outbox import ReplicationService
from storage.errors import Refused
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import translated
from storage.tiers import Tiers

log = structlog.get_logger(__name__)


class ArchiveService:
    """Moves old partitions to ClickHouse alone."""

    def __init__(self, tiers: Tiers, replication: ReplicationService, audit: AuditTrail) -> None:
        self._tiers = tiers
        self._replication = replication
        self._audit = audit

    def due(self, rules: TieringRules) -> list[Partition]:
        """The partitions that a run would take up now, oldest first, counted. Changes nothing."""
        with translated(), self._tiers.job_engine.connect() as connection:
            return [
                one._replace(rows=connection.scalar(text(f"SELECT count(*) FROM {one.name}")))  # noqa: S608
                for one in catalogue.due(connection, rules).partitions
            ]

    def archive_partitions(self, request: ArchiveRequest) -> Iterator[ArchiveCounts]:
        """Archives what is due and continues what is under way; gives the counts so far.
        Raises `TierError`, and `Refused` beside another archiver or a recovery, or where a clock is
        wrong; what was done until then stands, and the next run continues from there."""
        tiers = self._tiers
        with only_archiver(tiers.job_engine) as fence:
            with translated(), tiers.job_engine.connect() as connection:
                # Until one is over, the boundary says nothing of what is archived.
                if is_unfinished(connection):
                    raise Refused("a recovery is under way: nothing is archived before it is over")
            run = ArchiveRun(tiers, self._audit, fence, request)
            run.plan()
            # What waits in the outbox would differ.
            self._replication.ship_all()
            counted = 0
            for step in (run.detach_all, run.drop_all, run.archive_leftovers):
                for _ in step():
                    tiers.instruments.archived(run.done.messages - counted)
                    counted = run.done.messages
                    yield run.done
            # Also where there was nothing to do.
            yield run.done
            log.info("archived", actor=request.actor, attempt=fence.attempt, **run.done._asdict())
