"""Archiving, one run at a time: partitions are planned, proven, detached, proven again and dropped,
each step committed before the next begins, so that the next run continues one that was killed."""

from collections.abc import Iterator
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from jobs.archive import catalogue, units
from jobs.archive.catalogue import DEFAULT, DuePartitions
from jobs.archive.default_partition import archive_rows, are_there
from jobs.archive.detachment import detach
from jobs.archive.fence import FencingToken, only_archiver
from jobs.archive.proof import Prover
from jobs.archive.row_proof import RowProver
from jobs.archive.tiering import Partition, TieringRules
from jobs.archive.units import Unit
from jobs.audit import AuditTrail
from jobs.replicate.message_outbox import ReplicationService
from storage.availability.hidden import archive_boundary
from storage.errors import Refused
from storage.postgres.backlog import is_unfinished
from storage.postgres.driver import execute, transact, translated
from storage.postgres.partitions import id_at
from storage.resilience.faultpoints import faultpoint
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

FEW_BYTES = 64 * 1024 * 1024
"""So much may always go, whatever share of all it is."""

_DROP = "SELECT drop_messages_partition(:name)"
_COUNT = "SELECT count(*) FROM {}"
_IS_PARTITION = (
    "SELECT coalesce((SELECT relispartition FROM pg_class WHERE oid = to_regclass(:name)), false)"
)


class ArchiveRequest(NamedTuple):
    """What is to be archived: partitions whose messages are all as old as the rules say, dropped
    when they have been detached for `grace_seconds`; on behalf of `actor`.
    `most_share` is the share of all messages that may go at once: more is a clock that jumped."""

    rules: TieringRules
    grace_seconds: float
    actor: str
    most_share: float = 1.0


class ArchiveCounts(NamedTuple):
    """Counts of a run so far. `partitions` are those at hand; `messages` are no longer read from
    PostgreSQL, `leftovers` of them left it one by one. `waiting` partitions were too busy, `held`
    are in their grace."""

    partitions: int = 0
    detached: int = 0
    dropped: int = 0
    messages: int = 0
    leftovers: int = 0
    reshipped: int = 0
    newer: int = 0
    waiting: int = 0
    held: int = 0
    stopped: int = 0


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
                one._replace(rows=execute(connection, _COUNT.format(one.name)).scalar_one())
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


class ArchiveRun:
    """The steps, in their order. Each gives way after every unit; `done` counts."""

    def __init__(
        self, tiers: Tiers, audit: AuditTrail, fence: FencingToken, request: ArchiveRequest
    ) -> None:
        self._engine = tiers.job_engine
        self._audit = audit
        self._fence = fence
        self._request = request
        self._rows = RowProver(tiers)
        self._prover = Prover(tiers, self._rows)
        self.done = ArchiveCounts()

    def plan(self) -> None:
        """Makes units of what is due. Raises `Refused` where that is too much to be true."""
        with translated(), self._engine.begin() as connection:
            for unit in self._open(connection):
                if _is_gone(connection, unit):
                    log.warning("archive_table_gone", partition=unit.name)
                    self._leave(connection, unit, bytes=0)
        with translated(), self._engine.begin() as connection:
            due = catalogue.due(connection, self._request.rules)
            _check_share(due, self._request.most_share)
            units.plan(connection, self._fence, due.partitions, self._request.actor)
        faultpoint("archive.after_plan")

    def detach_all(self) -> Iterator[None]:
        """Proves and detaches what is still a partition."""
        attached = [unit for unit in transact(self._engine, self._open) if not unit.is_detached]
        self._count(partitions=len(attached))
        for unit in filter(None, map(self._prove, attached)):
            faultpoint("archive.after_proof")
            if detach(self._engine, self._audit, self._fence, unit, self._request.actor):
                self._count(detached=1, messages=unit.rows or 0)
            else:
                self._count(waiting=1)
            yield

    def drop_all(self) -> Iterator[None]:
        """Proves what is detached once more, and drops what is past its grace."""
        detached = [unit for unit in transact(self._engine, self._open) if unit.is_detached]
        grace_seconds = self._request.grace_seconds
        late = {unit.id for unit in detached if (unit.detached_seconds or 0) >= grace_seconds}
        self._count(held=len(detached) - len(late))
        again = [unit for unit in detached if unit.id in late or not unit.proven_since]
        for unit in filter(None, map(self._prove, again)):
            if unit.id in late:
                self._drop(unit)
                self._count(dropped=1)
            yield

    def archive_leftovers(self) -> Iterator[None]:
        """Archives what is old in the default partition."""
        unit = self._unit_of_leftovers()
        if unit is None:
            return
        moved, reshipped, trouble = 0, 0, None
        for rows, proof in archive_rows(self._engine, self._rows, self._fence, unit):
            moved, reshipped = moved + rows, reshipped + proof.reshipped
            trouble = trouble or proof.trouble
            counts = {"reshipped": proof.reshipped, "newer": proof.newer}
            self._count(messages=rows, leftovers=rows, **counts)
            yield
        with translated(), self._engine.begin() as connection:
            if trouble is None:
                units.move(connection, self._fence, unit, "dropped", rows=moved)
            else:
                self._stop(connection, unit, trouble)
            if moved:
                counts = {"messages": moved, "reshipped": reshipped}
                self._record(connection, "archive.leftovers", unit, counts)

    def _open(self, connection: Connection) -> list[Unit]:
        return [one for one in units.open_units(connection) if one.name != DEFAULT]

    def _unit_of_leftovers(self) -> Unit | None:
        with translated(), self._engine.begin() as connection:
            age_ms = int(self._request.rules.archive_after_seconds * 1000)
            old = id_at(max(0, catalogue.now_ms(connection) - age_ms))
            if are_there(connection, old):
                leftovers = Partition(DEFAULT, id_at(0), old, 0)
                units.plan(connection, self._fence, [leftovers], self._request.actor)
            known = (one for one in units.open_units(connection) if one.name == DEFAULT)
            unit = next(known, None)
        return None if unit is None else unit._replace(high=old)

    def _prove(self, unit: Unit) -> Unit | None:
        """Proves a unit; gives it as it is then, None where it could not be proven."""
        self._fence.touch()
        proof = self._prover.prove(unit, self._fence.attempt)
        counts = {"reshipped": proof.reshipped, "newer": proof.newer}
        self._count(**counts)
        with translated(), self._engine.begin() as connection:
            if proof.trouble is not None:
                self._stop(connection, unit, proof.trouble)
                return None
            proven = {"rows": proof.rows, **counts}
            state = units.move(connection, self._fence, unit, "proven", **proven)
            units.save_slices(connection, unit, proof.slices)
        return unit._replace(state=state, rows=proof.rows)

    def _stop(self, connection: Connection, unit: Unit, reason: str) -> None:
        self._count(stopped=1)
        log.error("archive_stopped", partition=unit.name, reason=reason)
        if (unit.state, unit.reason) != ("stopped", reason):
            units.move(connection, self._fence, unit, "stopped", reason=reason)
            self._record(connection, "archive.stop", unit, details={"reason": reason})

    def _drop(self, unit: Unit) -> None:
        faultpoint("archive.before_drop")
        with translated(), self._engine.begin() as connection:
            if _is_partition(connection, unit):
                raise Refused(f"{unit.name} was detached and is a partition again: it stays")
            execute(connection, _DROP, name=unit.name)
            self._leave(connection, unit, bytes=unit.bytes or 0)
        faultpoint("archive.after_drop")

    def _leave(self, connection: Connection, unit: Unit, **counts: int) -> None:
        """Its rows are gone from PostgreSQL."""
        rows = unit.rows or 0
        units.move(connection, self._fence, unit, "dropped", rows=rows)
        self._record(connection, "archive.drop", unit, {"messages": rows, **counts})

    def _record(
        self,
        connection: Connection,
        action: str,
        unit: Unit,
        counts: dict[str, int] | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        subject = f"partition:{unit.name}"
        self._audit.record(connection, self._request.actor, action, subject, counts, details)

    def _count(self, **counts: int) -> None:
        more = {name: getattr(self.done, name) + by for name, by in counts.items()}
        self.done = self.done._replace(**more)


def _is_partition(connection: Connection, unit: Unit) -> bool:
    return bool(execute(connection, _IS_PARTITION, name=unit.name).scalar_one())


def _is_gone(connection: Connection, unit: Unit) -> bool:
    """Whether its table went with a PostgreSQL that was lost, or by somebody's hand. Where one
    of its rows was changed since, there is a partition of its name again, as of any week."""
    if unit.is_detached:
        return unit.bytes is None or _is_partition(connection, unit)
    # Others were too busy with it, and later ones left before it: a recovery leaves what
    # is below the boundary to ClickHouse.
    return unit.bytes is None and unit.high <= archive_boundary(connection)


def _check_share(due: DuePartitions, most_share: float) -> None:
    due_bytes = sum(one.bytes for one in due.partitions)
    if due_bytes > max(FEW_BYTES, most_share * due.all_bytes):
        raise Refused(
            f"{due_bytes / due.all_bytes:.0%} of all messages would be archived at once, which"
            " looks like a clock that jumped; if it is meant, run `threadkeep archive`"
        )
