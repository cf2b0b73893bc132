"""Recovery from a disaster: asked for, carried out by one process at a time, told while it runs.

Whoever asks leaves a notice in every tier that answers. Workers look for it, carry it out, and go
on with what a process that died has left; so nothing depends on the queue, which may be what was
lost.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec
import structlog
from sqlalchemy import Engine, text

from jobs.audit import SYSTEM, AuditTrail
from jobs.recover.from_clickhouse import Tell
from jobs.recover.opening import Bootstrap
from jobs.recover.redis import RedisRecoveryService
from jobs.recover.runs import (
    CLICKHOUSE,
    DEFAULT_TARGET_SECONDS,
    NOTICE,
    RecoveryRun,
    RecoveryStatus,
    Source,
    status_of,
)
from jobs.replicate import row_outbox
from models import ids
from models.ids import Clock
from storage.availability.notices import Notices
from storage.clickhouse.driver import ClickHouse
from storage.errors import NoTierAvailable, Refused, TierError, TierRejected
from storage.postgres import schema
from storage.postgres.driver import translated
from storage.resilience.retries import retry_until_available

log = structlog.get_logger(__name__)

TELL_SECONDS = 0.5
WARM_THREADS = 1_000
# Nothing is archived meanwhile: the boundary, and what is on which side of it, is being restored.
_TRY_LOCK = text(
    "SELECT pg_try_advisory_lock(hashtext('threadkeep:disaster-recovery'))"
    " AND pg_try_advisory_lock(hashtext('threadkeep:archive'))"
)


class AlreadyRecovering(Exception):
    """A recovery is asked for or runs already."""


class RecoveryPath(Protocol):
    """From one tier to the others."""

    def run(self, run: RecoveryRun, tell: Tell) -> dict[str, int]:
        """Does all of it; gives counts."""


class DisasterRecoveryService:
    """The verbs of recoveries."""

    def __init__(
        self,
        notices: Notices,
        engine: Engine,
        server: ClickHouse,
        opening: Bootstrap,
        ways: dict[Source, RecoveryPath],
        redis: RedisRecoveryService,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._notices = notices
        self._engine = engine
        self._server = server
        self._opening = opening
        self._ways = ways
        self._redis = redis
        self._audit = audit
        self._clock = clock

    def request(
        self, source: Source, actor: str, target_rto_seconds: float = DEFAULT_TARGET_SECONDS
    ) -> RecoveryRun:
        """Asks for a recovery, which a worker carries out. Raises `AlreadyRecovering` where one
        is under way, and `NoTierAvailable`."""
        latest = self.latest()
        if latest is not None and not latest.is_over:
            raise AlreadyRecovering(f"{latest.id} is {latest.state}")
        run = RecoveryRun(
            id=ids.mint(self._clock.now_us(), 0),
            source=source,
            actor=actor,
            target_rto_seconds=target_rto_seconds,
        )
        self._notices.write(NOTICE, run)
        log.warning("recovery_requested", source=source, id=run.id)
        return run

    def is_lost(self) -> bool:
        """Whether PostgreSQL is a new one beside a ClickHouse that knows another. Raises
        `TierError`."""
        with translated(), self._engine.connect() as connection:
            if not schema.postgres_standing(connection).is_new:
                return False
        return row_outbox.are_there(self._server)

    def open(self) -> None:
        """Begins to make such a PostgreSQL anew, so that it answers rightly from now on; workers
        do the rest. Raises `TierError`, `Refused`."""
        latest = self.latest()
        is_begun = latest is not None and not latest.is_over
        run = latest if latest is not None and is_begun else self.request(CLICKHOUSE, SYSTEM)
        self._opening.open(run.id, run.actor, run.target_rto_seconds)

    def latest(self) -> RecoveryRun | None:
        """The recovery that was asked for last. Raises `NoTierAvailable`."""
        found = self._notices.read(NOTICE)
        return msgspec.json.decode(found, type=RecoveryRun) if found is not None else None

    def status(self) -> RecoveryStatus:
        """How it stands. Raises `NoTierAvailable`."""
        return status_of(self.latest())

    def go_on(self) -> RecoveryRun | None:
        """Carries out what was asked for and nobody carries out; gives it when it is over.

        Raises `TierError` where a tier that it needs does not answer: it is tried again.
        """
        try:
            run = self.latest()
        except NoTierAvailable:
            return None
        return self.carry_out(run) if run is not None and not run.is_over else None

    def carry_out(self, run: RecoveryRun, tell: Tell = lambda *_: None) -> RecoveryRun | None:
        """Carries a recovery out; None where another process does. Raises `TierError`."""
        with self._alone() as is_alone:
            if not is_alone:
                return None
            return self._carry_out(_Teller(self._notices, run, tell))

    def wait(self, run: RecoveryRun, tell: Tell) -> RecoveryRun:
        """Waits for the process that carries a recovery out, and goes on with it should that one
        die; gives it when it is over. Raises `TierError`."""
        while True:
            time.sleep(TELL_SECONDS)
            latest = self.latest()
            if latest is None or latest.id != run.id:
                raise TierRejected("postgresql", "the notice of the recovery is gone")
            tell(latest.stage, latest.done, latest.total)
            if latest.is_over:
                return latest
            if done := self.carry_out(latest, tell):
                return done

    def _carry_out(self, teller: "_Teller") -> RecoveryRun:
        run = teller.run
        log.warning("recovery_begins", source=run.source, id=run.id)
        try:
            counts = self._ways[run.source].run(run, teller)
            counts["warmed"] = self._warm(teller)
            retry_until_available(self._note, run, counts)
        except (Refused, TierRejected) as error:
            return teller.end("failed", run.counts, str(error))
        except TierError as error:
            teller.held_up(str(error))
            raise
        return teller.end("complete", counts)

    def _warm(self, tell: Tell) -> int:
        """Redis is believed again, and has the threads that are likely to be read next."""
        tell("redis", 0, 0)
        try:
            # A breaker may still hold for lost what has just been made again.
            retry_until_available(self._redis.reconcile)
            warmed = 0
            for number, messages in enumerate(self._redis.warm_latest(WARM_THREADS), 1):
                warmed += messages
                tell("redis", number, WARM_THREADS)
            return warmed
        except TierError as error:
            # Workers adopt it when they can, and it warms as it is read.
            log.warning("redis_not_warmed", tier=error.tier, reason=error.reason)
            return 0

    def _note(self, run: RecoveryRun, counts: dict[str, int]) -> None:
        details = {
            "source": run.source,
            "target_rto_seconds": run.target_rto_seconds,
            "elapsed_seconds": run.elapsed_seconds,
        }
        self._audit.note(
            run.actor or SYSTEM, "recovery.completed", f"run:{run.id}", counts, details
        )

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process may; the lock goes with its connection, so also if it dies."""
        with translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            with translated():
                has_lock = bool(connection.execute(_TRY_LOCK).scalar_one())
            yield has_lock
        finally:
            connection.invalidate()
            connection.close()


class _Teller:
    """Keeps the notice of a run up to date, not more often than anybody looks."""

    def __init__(self, notices: Notices, run: RecoveryRun, also: Tell) -> None:
        self._notices = notices
        self._also = also
        self._told_at = 0.0
        self.run = msgspec.structs.replace(run, state="running", error=None)

    def __call__(self, stage: str, done: int, total: int) -> None:
        is_new = stage != self.run.stage
        now = time.time()
        self.run = msgspec.structs.replace(
            self.run,
            stage=stage,
            done=done,
            total=total,
            stage_at=now if is_new else self.run.stage_at,
            told_at=now,
        )
        self._also(stage, done, total)
        if is_new or time.monotonic() - self._told_at > TELL_SECONDS:
            self._write()

    def held_up(self, error: str) -> None:
        self.run = msgspec.structs.replace(self.run, error=error)
        self._write()

    def end(self, state: str, counts: dict[str, int], error: str | None = None) -> RecoveryRun:
        now = time.time()
        self.run = msgspec.convert(
            msgspec.structs.asdict(self.run)
            | {
                "state": state,
                "counts": counts,
                "error": error,
                "finished_at": now,
                "told_at": now,
            },
            type=RecoveryRun,
        )
        self._write()
        report = log.warning if state == "complete" else log.error
        report(
            "recovery_over",
            state=state,
            elapsed_seconds=self.run.elapsed_seconds,
            within_target=self.run.elapsed_seconds <= self.run.target_rto_seconds,
            error=error,
        )
        return self.run

    def _write(self) -> None:
        self._told_at = time.monotonic()
        try:
            self._notices.write(NOTICE, self.run)
        except NoTierAvailable as error:
            # It is told when one of them answers again; the work does not depend on it.
            log.info("recovery_not_told", reason=error.reason)
