"""One go at the erasure of a user: tier by tier, until counting in all of them finds nothing."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec
import structlog
from sqlalchemy import Connection

from jobs.audit import AuditTrail
from jobs.erase.clickhouse import ClickHouseEraser
from jobs.erase.postgres import PostgresEraser
from jobs.erase.receipt import ErasureLedger, Target, UserErasure
from jobs.erase.redis import RedisEraser
from jobs.replicate.row_outbox import RowCopies
from models import ids
from models.message import Tier
from storage.errors import TierError, TierUnavailable
from storage.postgres.driver import translated
from storage.postgres.locks import wait_for_writers
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

ROUNDS = 5
"""Each takes out what came while the one before counted; writers are shut out, so two do."""

PAUSE_SECONDS = 0.2
"""After a lock that somebody else held a little too long."""

WRITERS_SECONDS = 15.0

VACUUMED = "vacuumed; the write-ahead log and backups keep what they hold until they are recycled"

OnProgress = Callable[[UserErasure], None]
Count = Callable[[Target], dict[str, int]]


class ErasureContext:
    """What an erasure is done with."""

    def __init__(self, tiers: Tiers, copies: RowCopies, audit: AuditTrail) -> None:
        self.engine = tiers.job_engine
        self.clock = tiers.clock
        self.settings = tiers.settings
        self.redis = RedisEraser(tiers)
        self.postgres = PostgresEraser(tiers)
        self.clickhouse = ClickHouseEraser(tiers, copies)
        self.counts: dict[Tier, Count] = {
            "redis": self.redis.count,
            "postgresql": self.postgres.count,
            "clickhouse": self.clickhouse.count,
        }
        self.ledger = ErasureLedger(tiers.job_engine)
        self.audit = audit


class ErasureRun:
    """One go, by whoever holds the claim."""

    def __init__(
        self, context: ErasureContext, erasure: UserErasure, on_progress: OnProgress
    ) -> None:
        self._context = context
        self._on_progress = on_progress
        self._erasure = erasure
        self._target = Target(erasure.user_id, erasure.erased_through)
        self._started = time.monotonic()
        self._seconds_before = erasure.seconds
        self._is_passing = True

    def run(self) -> UserErasure:
        """The receipt at its end."""
        try:
            return self._run()
        except Exception:
            # Whoever comes next need not wait until the claim has run out.
            with suppress(TierError):
                self._context.ledger.save(self._erasure, release=True)
            raise

    def _run(self) -> UserErasure:
        was_done = self._erasure.state == "done"
        self._change(waits_for={})
        is_clean = was_done and self._is_clean()
        for _ in range(ROUNDS):
            if is_clean or self._is_stopped():
                break
            self._clear()
            is_clean = self._is_clean()
        if is_clean:
            self._compact()
        self._end(is_clean, was_done)
        return self._erasure

    def _is_stopped(self) -> bool:
        """Whether a tier is down; one that is only busy is asked again."""
        if self._erasure.waits_for and self._is_passing:
            time.sleep(PAUSE_SECONDS)
            self._change(waits_for={})
        self._is_passing = True
        return bool(self._erasure.waits_for)

    def _clear(self) -> None:
        self._step("redis", self._clear_redis)
        # A drain that had read an entry of the log before may still write it, and be refused; a
        # shipment that had taken a row may still insert it.
        self._step("postgresql", self._wait, self._clear_postgres, self._wait)
        self._step("clickhouse", self._clear_clickhouse)
        # Once more, for what was written to it meanwhile.
        self._step("redis", self._clear_redis)

    def _clear_redis(self) -> None:
        redis = self._context.redis
        redis.block_writes(self._target)
        # Each counts by itself, should the next one fail.
        self._add("redis", redis.purge_log(self._target))
        self._add("redis", redis.clear(self._target))

    def _wait(self) -> None:
        wait_for_writers(self._context.engine, WRITERS_SECONDS)

    def _clear_postgres(self) -> None:
        counts, touched = self._context.postgres.clear(self._target)
        self._add("postgresql", counts)
        self._change(to_vacuum=sorted({*self._erasure.to_vacuum, *touched}))

    def _clear_clickhouse(self) -> None:
        self._context.clickhouse.note(self._erasure, self._target.moment)
        self._add("clickhouse", self._context.clickhouse.clear(self._target))

    def _is_clean(self) -> bool:
        """Whether counting in every tier finds nothing."""
        found: list[int] = []
        for tier, count in self._context.counts.items():
            self._step(tier, partial(_count, found, count, self._target))
        return not self._erasure.waits_for and not any(found)

    def _step(self, tier: Tier, *works: Callable[[], None]) -> None:
        """One tier that is in the way does not keep the others from being cleared."""
        for work in works:
            if tier in self._erasure.waits_for:
                return
            try:
                work()
            except TierError as error:
                if error.tier == "postgresql" and tier != "postgresql":
                    raise
                self._is_passing &= isinstance(error, TierUnavailable) and error.passing
                self._change(waits_for={**self._erasure.waits_for, tier: error.reason})
            self._context.ledger.save(self._erasure)
            self._on_progress(self._erasure)

    def _compact(self) -> None:
        """Takes one more step to free the space in files of what no query finds any more."""
        context, before = self._context, self._erasure.files.get("redis")
        to_vacuum = context.postgres.vacuum(self._erasure.to_vacuum)
        waiting = f"VACUUM waits for {', '.join(to_vacuum)}"
        files: dict[Tier, str] = {
            "redis": _said(lambda: context.redis.rewrite_file(before)),
            "postgresql": waiting if to_vacuum else VACUUMED,
            "clickhouse": _said(context.clickhouse.old_parts),
        }
        self._change(files=files, to_vacuum=to_vacuum)

    def _add(self, tier: Tier, counts: dict[str, int]) -> None:
        self._erasure = self._erasure.with_removed(tier, counts)
        self._change()

    def _change(self, **values: object) -> None:
        seconds = round(self._seconds_before + time.monotonic() - self._started, 3)
        self._erasure = msgspec.structs.replace(self._erasure, seconds=seconds, **values)

    def _end(self, is_clean: bool, was_done: bool) -> None:
        context = self._context
        if not is_clean:
            if not self._erasure.waits_for:
                log.error("user_erasure_unfinished", rounds=ROUNDS)
            self._change(state="pending", finished_at=None)
            context.ledger.save(self._erasure, release=True)
            return
        finished_at = self._erasure.finished_at or ids.timestamp(context.clock.now_us())
        self._change(state="done", finished_at=finished_at)
        with translated(), context.engine.begin() as connection:
            context.ledger.save(self._erasure, connection, release=True)
            if not was_done:
                self._record(connection)
        if not was_done:
            try:
                context.clickhouse.note(self._erasure, self._target.moment)
            except TierError as error:
                # It has the mark already; the receipt is in PostgreSQL.
                log.warning("receipt_not_noted", tier=error.tier, reason=error.reason)
            log.warning("user_erased", removed=self._erasure.removed)

    def _record(self, connection: Connection) -> None:
        erasure = self._erasure
        counts = {
            f"{tier}.{kind}": count
            for tier, kinds in erasure.removed.items()
            for kind, count in kinds.items()
        }
        details = {"erased_through": erasure.erased_through, "seconds": erasure.seconds}
        subject = f"user:{erasure.user_id}"
        self._context.audit.record(
            connection, erasure.requested_by, "user.erased", subject, counts, details
        )


def _count(found: list[int], count: Count, target: Target) -> None:
    found.extend(count(target).values())


def _said(step: Callable[[], str]) -> str:
    try:
        return step()
    except TierError as error:
        return f"not seen to: {error.reason}"
