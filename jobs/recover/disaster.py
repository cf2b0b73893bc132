"""Recovery from a disaster: requested, and carried out by one process at a time.

A request is a notice in every tier that answers. Workers poll for it, carry it out, and go on with
what a process that died has left; so nothing depends on the queue, which may be what was lost.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from jobs.audit import SYSTEM, AuditTrail
from jobs.recover.bootstrap import Bootstrap
from jobs.recover.redis import RedisRecoveryService
from jobs.recover.runs import (
    CLICKHOUSE,
    DEFAULT_TARGET_SECONDS,
    NOTICE,
    OnProgress,
    RecoveryRun,
    RecoveryStatus,
    Source,
    State,
    status_of,
)
from jobs.replicate import row_outbox
from models import ids
from storage.availability.notices import TIERS, Notices
from storage.errors import NoTierAvailable, Refused, TierError, TierRejected
from storage.postgres import schema
from storage.postgres.driver import translated
from storage.postgres.locks import session_lock
from storage.resilience.retries import retry_until_available
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

NOTICE_SECONDS = 0.5
WARM_THREADS = 1_000
# Nothing is archived meanwhile: the boundary, and what is on which side of it, is being restored.
LOCKS = ("disaster-recovery", "archive")

RecoveryPath = Callable[[RecoveryRun, OnProgress], dict[str, int]]
"""Rebuilds tiers from another; gives counts. Raises `TierError`."""


class AlreadyRecovering(Exception):
    """A recovery is requested or runs already."""


@dataclass(eq=False)
class DisasterRecoveryService:
    """The verbs of recoveries."""

    _tiers: Tiers
    _bootstrap: Bootstrap
    _paths: dict[Source, RecoveryPath]
    _redis: RedisRecoveryService
    _audit: AuditTrail

    def request(
        self, source: Source, actor: str, target_rto_seconds: float = DEFAULT_TARGET_SECONDS
    ) -> RecoveryRun:
        """Requests a recovery of a worker. Raises `AlreadyRecovering`, and `NoTierAvailable`."""
        latest = self.latest()
        if latest is not None and not latest.is_over:
            raise AlreadyRecovering(f"{latest.id} is {latest.state}")
        run = RecoveryRun(
            id=ids.mint(self._tiers.clock.now_us(), 0),
            source=source,
            actor=actor,
            target_rto_seconds=target_rto_seconds,
        )
        self._tiers.notices.write(NOTICE, run)
        log.warning("recovery_requested", source=source, id=run.id)
        return run

    def is_lost(self) -> bool:
        """Whether PostgreSQL is new and ClickHouse has rows of another. Raises `TierError`."""
        with translated(), self._tiers.migrate_engine.connect() as connection:
            if not schema.postgres_standing(connection).is_new:
                return False
        return row_outbox.are_there(self._tiers.job_clickhouse)

    def open(self) -> None:
        """Makes a lost PostgreSQL answer correctly; workers rebuild the rest. Raises `TierError`,
        `Refused`."""
        run = self.latest()
        if run is None or run.is_over:
            run = self.request(CLICKHOUSE, SYSTEM)
        self._bootstrap.open(run.id, run.actor, run.target_rto_seconds)

    def take_first_step(self) -> bool:
        """Makes a lost PostgreSQL answer correctly if its recovery was requested; gives whether it
        was. For whoever owns the tables, which workers need not. Raises `TierError`, `Refused`."""
        run = self.latest()
        if run is None or run.is_over or run.source != CLICKHOUSE:
            return False
        self._bootstrap.open(run.id, run.actor, run.target_rto_seconds)
        return True

    def latest(self, tiers: Sequence[str] = TIERS) -> RecoveryRun | None:
        """The latest recovery that these tiers know of. Raises `NoTierAvailable`."""
        found = self._tiers.notices.read(NOTICE, tiers=tiers)
        return msgspec.json.decode(found, type=RecoveryRun) if found is not None else None

    def status(self) -> RecoveryStatus:
        """How it stands. Raises `NoTierAvailable`."""
        return status_of(self.latest())

    def go_on(self, tiers: Sequence[str] = TIERS) -> RecoveryRun | None:
        """Carries out the recovery that was requested, as far as these tiers know, unless another
        process does; gives it when it is over. Raises `TierError`; the next call tries again."""
        try:
            run = self.latest(tiers)
        except NoTierAvailable:
            return None
        return self.carry_out(run) if run is not None and not run.is_over else None

    def carry_out(
        self, run: RecoveryRun, on_progress: OnProgress = lambda *_: None
    ) -> RecoveryRun | None:
        """Carries a recovery out; None where another process does. Raises `TierError`."""
        with session_lock(self._tiers.job_engine, *LOCKS) as connection:
            if connection is None:
                return None
            return self._carry_out(_RunNotice(self._tiers.notices, run, on_progress))

    def wait(self, run: RecoveryRun, on_progress: OnProgress) -> RecoveryRun:
        """Waits until a recovery is over and gives it; takes it over from a process that died.
        Raises `TierError`."""
        while True:
            time.sleep(NOTICE_SECONDS)
            latest = self.latest()
            if latest is None or latest.id != run.id:
                raise TierRejected("postgresql", "the notice of the recovery is gone")
            on_progress(latest.stage, latest.done, latest.total)
            if latest.is_over:
                return latest
            if done := self.carry_out(latest, on_progress):
                return done

    def _carry_out(self, notice: "_RunNotice") -> RecoveryRun:
        run = notice.run
        log.warning("recovery_begins", source=run.source, id=run.id)
        try:
            counts = self._paths[run.source](run, notice)
            counts["warmed"] = self._warm(notice)
            details = {
                "source": run.source,
                "target_rto_seconds": run.target_rto_seconds,
                "elapsed_seconds": run.elapsed_seconds,
            }
            noted = (run.actor or SYSTEM, "recovery.completed", f"run:{run.id}", counts, details)
            retry_until_available(self._audit.note, *noted)
        except (Refused, TierRejected) as error:
            return notice.end("failed", run.counts, str(error))
        except TierError as error:
            notice.write(error=str(error))
            raise
        return notice.end("complete", counts)

    def _warm(self, on_progress: OnProgress) -> int:
        """Adopts Redis again, and warms the threads that are likely to be read next."""
        on_progress("redis", 0, 0)
        try:
            # A breaker may still be open for a server that was just rebuilt.
            retry_until_available(self._redis.reconcile)
            warmed = 0
            for number, messages in enumerate(self._redis.warm_latest(WARM_THREADS), 1):
                warmed += messages
                on_progress("redis", number, WARM_THREADS)
            return warmed
        except TierError as error:
            # Workers adopt it when they can, and it warms as it is read.
            log.warning("redis_not_warmed", tier=error.tier, reason=error.reason)
            return 0


class _RunNotice:
    """Keeps the notice of a run up to date, not more often than anybody looks."""

    def __init__(self, notices: Notices, run: RecoveryRun, on_progress: OnProgress) -> None:
        self._notices = notices
        self._on_progress = on_progress
        self._written_at = 0.0
        self.run = msgspec.structs.replace(run, state="running", error=None)

    def __call__(self, stage: str, done: int, total: int) -> None:
        is_new = stage != self.run.stage
        now = time.time()
        changes = {"stage": stage, "done": done, "total": total, "told_at": now}
        if is_new:
            changes["stage_at"] = now
        self._on_progress(stage, done, total)
        if is_new or time.monotonic() - self._written_at > NOTICE_SECONDS:
            self.write(**changes)
        else:
            self.run = msgspec.structs.replace(self.run, **changes)

    def end(self, state: State, counts: dict[str, int], error: str | None = None) -> RecoveryRun:
        now = time.time()
        self.write(state=state, counts=counts, error=error, finished_at=now, told_at=now)
        report = log.warning if state == "complete" else log.error
        report(
            "recovery_over",
            state=state,
            elapsed_seconds=self.run.elapsed_seconds,
            within_target=self.run.within_target,
            error=error,
        )
        return self.run

    def write(self, **changes: Any) -> None:
        self.run = msgspec.structs.replace(self.run, **changes)
        self._written_at = time.monotonic()
        try:
            self._notices.write(NOTICE, self.run)
        except NoTierAvailable as error:
            # It is written when one of them answers again; the work does not depend on it.
            log.info("recovery_not_told", reason=error.reason)
