"""Archiving: what is asked for, and who does it, one at a time."""

from collections.abc import Iterator

import structlog
from sqlalchemy import Engine

from jobs.archive import catalogue
from jobs.archive.catalogue import Partition
from jobs.archive.fence import only_archiver
from jobs.archive.run import ArchiveContext, ArchiveCounts, ArchiveRequest, ArchiveRun
from jobs.archive.tiering import TieringRules, tier_old_messages
from jobs.audit import AuditTrail
from jobs.replicate.message_outbox import ReplicationService
from storage.clickhouse.driver import ClickHouse
from storage.errors import Refused
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import translated
from storage.resilience.breaker import Breaker
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)


class ArchiveService:
    """Moves old partitions to ClickHouse alone."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        breaker: Breaker,
        replication: ReplicationService,
        audit: AuditTrail,
        instruments: Instruments,
    ) -> None:
        self._instruments = instruments
        self._engine = engine
        self._replication = replication
        self._tools = ArchiveContext.over(engine, server, breaker, audit)

    def due(self, rules: TieringRules) -> list[Partition]:
        """The partitions that a run would take up now, oldest first, counted. Changes nothing."""
        with translated(), self._engine.connect() as connection:
            there = catalogue.look(connection)
            now_ms = catalogue.now_ms(connection)
            return catalogue.counted(connection, tier_old_messages(there.weekly, now_ms, rules))

    def archive_partitions(self, wish: ArchiveRequest) -> Iterator[ArchiveCounts]:
        """Archives what is due and goes on with what is under way; gives the counts so far.

        Raises `Refused` where another archiver is at work or a clock is wrong, and `TierError`;
        whatever was done until then stands, and the next run goes on from there.
        """
        with only_archiver(self._engine) as fence:
            self._refuse_beside_recovery()
            run = ArchiveRun(self._tools, fence, wish)
            run.plan()
            # What waits in the outbox would differ.
            self._replication.ship_all()
            counted = 0
            for step in (run.detach_all, run.drop_all, run.archive_leftovers):
                for _ in step():
                    self._instruments.archived(run.done.messages - counted)
                    counted = run.done.messages
                    yield run.done
            # Also where there was nothing to do.
            yield run.done
            log.info("archived", actor=wish.actor, attempt=fence.attempt, **run.done._asdict())

    def _refuse_beside_recovery(self) -> None:
        """Until one is over, the boundary says nothing of what is archived."""
        with translated(), self._engine.connect() as connection:
            if is_unfinished(connection):
                raise Refused("a recovery is under way: nothing is archived before it is over")
