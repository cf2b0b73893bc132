"""One run of the archiver, from the plan to the drop: proven, detached, proven again, dropped.

Nothing leaves PostgreSQL but what ClickHouse was just proven to have. Each step is in PostgreSQL
before the next begins, so a run that is killed is gone on from by the next one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import structlog
from sqlalchemy import Connection, Engine, text

from jobs.archive import catalogue, manifest, units
from jobs.archive.catalogue import DEFAULT, Partition
from jobs.archive.default_partition import Leftovers
from jobs.archive.detachment import Detachment
from jobs.archive.fence import FencingToken
from jobs.archive.proof import Proof, Prover, together
from jobs.archive.row_proof import RowProver
from jobs.archive.tiering import TieringRules, tier_old_messages
from jobs.archive.units import Unit
from jobs.audit import AuditTrail
from storage.availability.hidden import archive_boundary
from storage.clickhouse.driver import ClickHouse
from storage.errors import Refused
from storage.postgres.driver import translated
from storage.postgres.partitions import id_at
from storage.resilience.breaker import Breaker
from storage.resilience.faultpoints import faultpoint

log = structlog.get_logger(__name__)

FEW_BYTES = 64 * 1024 * 1024
"""So much may always go, whatever share of all it is."""


class ArchiveRequest(NamedTuple):
    """What is to be archived: partitions whose messages are all as old as the rules say, dropped
    when they have been detached for `grace_seconds`; on behalf of `actor`.

    `most_share` is the share of all messages that may go at once: more of them can hardly have
    grown old since yesterday, but a clock can have jumped.
    """

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


class ArchiveContext(NamedTuple):
    """What a run works with."""

    engine: Engine
    audit: AuditTrail
    prover: Prover
    detachment: Detachment
    leftovers: Leftovers

    @classmethod
    def over(cls, engine: Engine, server: ClickHouse, breaker: Breaker, audit: AuditTrail) -> Self:
        """The tools over one PostgreSQL and one ClickHouse."""
        mender = RowProver(engine, server, breaker)
        return cls(
            engine,
            audit,
            Prover(engine, server, breaker, mender),
            Detachment(engine, audit),
            Leftovers(engine, mender),
        )


class ArchiveRun:
    """The steps, in their order. Each gives way after every unit; `done` counts."""

    def __init__(self, tools: ArchiveContext, fence: FencingToken, wish: ArchiveRequest) -> None:
        self._tools = tools
        self._engine = tools.engine
        self._fence = fence
        self._wish = wish
        self.done = ArchiveCounts()

    def plan(self) -> None:
        """Makes units of what is due. Raises `Refused` where that is too much to be true."""
        for unit in self._open():
            if self._is_gone(unit):
                self._forget(unit)
        with translated(), self._engine.begin() as connection:
            there = catalogue.look(connection)
            now_ms = catalogue.now_ms(connection)
            due = tier_old_messages(there.weekly, now_ms, self._wish.rules)
            _check_share(due, there.bytes, self._wish.most_share)
            units.plan(connection, self._fence, due, self._wish.actor)
        faultpoint("archive.after_plan")

    def detach_all(self) -> Iterator[None]:
        """Proves and detaches what is still a partition."""
        attached = [unit for unit in self._open() if not unit.is_detached]
        self._count(partitions=len(attached))
        for group in together(attached):
            proven = self._prove(group)
            faultpoint("archive.after_proof")
            for unit in proven:
                if self._tools.detachment.detach(self._fence, unit, self._wish.actor):
                    self._count(detached=1, messages=unit.rows or 0)
                else:
                    self._count(waiting=1)
                yield

    def drop_all(self) -> Iterator[None]:
        """Proves what is detached once more, and drops what is past its grace."""
        detached = [unit for unit in self._open() if unit.is_detached]
        late = {unit.id for unit in detached if self._is_past_grace(unit)}
        self._count(held=len(detached) - len(late))
        for group in together([u for u in detached if u.id in late or not u.proven_since]):
            for unit in self._prove(group):
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
        for rows, settled in self._tools.leftovers.archive(self._fence, unit):
            moved, reshipped = moved + rows, reshipped + settled.reshipped
            trouble = trouble or settled.trouble
            counts = {"reshipped": settled.reshipped, "newer": settled.newer}
            self._count(messages=rows, leftovers=rows, **counts)
            yield
        with translated(), self._engine.begin() as connection:
            if trouble is None:
                units.drop(connection, self._fence, unit, moved)
            else:
                self._stop(connection, unit, trouble)
            if moved:
                self._record(connection, "archive.leftovers", unit, moved, reshipped=reshipped)

    def _open(self) -> list[Unit]:
        with translated(), self._engine.connect() as connection:
            return [one for one in units.open_units(connection) if one.name != DEFAULT]

    def _is_past_grace(self, unit: Unit) -> bool:
        return unit.is_detached and (unit.detached_seconds or 0) >= self._wish.grace_seconds

    def _unit_of_leftovers(self) -> Unit | None:
        with translated(), self._engine.begin() as connection:
            age_ms = int(self._wish.rules.archive_after_seconds * 1000)
            old = id_at(max(0, catalogue.now_ms(connection) - age_ms))
            if catalogue.has_leftovers(connection, old):
                leftovers = Partition(DEFAULT, id_at(0), old, 0)
                units.plan(connection, self._fence, [leftovers], self._wish.actor)
            known = (one for one in units.open_units(connection) if one.name == DEFAULT)
            unit = next(known, None)
        return None if unit is None else unit._replace(high=old)

    def _prove(self, group: Sequence[Unit]) -> list[Unit]:
        """Proves some units; gives those that could be, as they are then."""
        self._fence.keep()
        proofs = list(self._tools.prover.prove(group, self._fence.attempt))
        proven = []
        with translated(), self._engine.begin() as connection:
            for proof in proofs:
                self._count(reshipped=proof.reshipped, newer=proof.newer)
                if proof.trouble is None:
                    proven.append(self._note(connection, proof))
                else:
                    self._stop(connection, proof.unit, proof.trouble)
        return proven

    def _note(self, connection: Connection, proof: Proof) -> Unit:
        unit = units.prove(
            connection,
            self._fence,
            proof.unit,
            rows=proof.rows,
            reshipped=proof.reshipped,
            newer=proof.newer,
        )
        manifest.save(connection, unit, proof.slices)
        return unit

    def _stop(self, connection: Connection, unit: Unit, reason: str) -> None:
        self._count(stopped=1)
        log.error("archive_stopped", partition=unit.name, reason=reason)
        if (unit.state, unit.reason) != ("stopped", reason):
            units.stop(connection, self._fence, unit, reason)
            subject, details = f"partition:{unit.name}", {"reason": reason}
            actor = self._wish.actor
            self._tools.audit.record(connection, actor, "archive.stop", subject, details=details)

    def _drop(self, unit: Unit) -> None:
        faultpoint("archive.before_drop")
        with translated(), self._engine.begin() as connection:
            if catalogue.is_partition(connection, unit.name):
                raise Refused(f"{unit.name} was detached and is a partition again: it stays")
            connection.execute(text(f"DROP TABLE {unit.name}"))
            units.drop(connection, self._fence, unit, unit.rows or 0)
            rows, size = unit.rows or 0, unit.bytes or 0
            self._record(connection, "archive.drop", unit, rows, bytes=size)
        faultpoint("archive.after_drop")

    def _is_gone(self, unit: Unit) -> bool:
        """Whether its table went with a PostgreSQL that was lost, or by somebody's hand. Where one
        of its rows was changed since, there is a partition of its name again, as of any week."""
        with translated(), self._engine.connect() as connection:
            if unit.is_detached:
                return unit.bytes is None or catalogue.is_partition(connection, unit.name)
            # Others were too busy with it, and later ones left before it: a recovery leaves what
            # is below the boundary to ClickHouse.
            return unit.bytes is None and unit.high <= archive_boundary(connection)

    def _forget(self, unit: Unit) -> None:
        log.warning("archive_table_gone", partition=unit.name)
        with translated(), self._engine.begin() as connection:
            units.drop(connection, self._fence, unit, unit.rows or 0)
            self._record(connection, "archive.drop", unit, unit.rows or 0, bytes=0)

    def _record(
        self, connection: Connection, action: str, unit: Unit, messages: int, **counts: int
    ) -> None:
        counts = {"messages": messages, **counts}
        subject = f"partition:{unit.name}"
        self._tools.audit.record(connection, self._wish.actor, action, subject, counts)

    def _count(self, **counts: int) -> None:
        more = {name: getattr(self.done, name) + by for name, by in counts.items()}
        self.done = self.done._replace(**more)


def _check_share(due: Iterable[Partition], all_bytes: int, most_share: float) -> None:
    due_bytes = sum(one.bytes for one in due)
    if due_bytes > max(FEW_BYTES, most_share * all_bytes):
        raise Refused(
            f"{due_bytes / all_bytes:.0%} of all messages would be archived at once, which looks"
            " like a clock that jumped; if it is meant, run `threadkeep archive`"
        )
