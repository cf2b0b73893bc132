"""Erases a user from every tier, with a receipt that says what was removed where.

First PostgreSQL marks the user: from then on nobody takes in what is at or below the watermark,
and no reader sees it. Then it is taken out of Redis, PostgreSQL and ClickHouse, and looked for
until a look through all of them finds nothing. What a tier that is out still has goes when it is
back. Later looks find what was under way.
"""

from contextlib import suppress

import structlog
from sqlalchemy import Engine, text

from jobs.audit import AuditTrail
from jobs.erase import holds
from jobs.erase.clickhouse import ClickHouseEraser
from jobs.erase.compaction import Tidying
from jobs.erase.ledger import ErasureLedger
from jobs.erase.postgres import PostgresEraser
from jobs.erase.receipt import Target, UserErasure
from jobs.erase.redis import RedisEraser
from jobs.erase.run import ErasureContext, ErasureRun, OnProgress
from models import ids
from models.ids import Clock
from storage.errors import NotFound, TierError
from storage.postgres.driver import translated

log = structlog.get_logger(__name__)

_NEWEST = text(
    "SELECT greatest(max(last_message_at), max(created_at),"
    " (SELECT max(updated_at) FROM state_records WHERE user_id = :user_id))"
    " FROM threads WHERE user_id = :user_id"
)


class UserErasureService:
    """The erasure of users. Safe to repeat, and to stop at any point."""

    def __init__(
        self,
        engine: Engine,
        redis: RedisEraser,
        postgres: PostgresEraser,
        clickhouse: ClickHouseEraser,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._postgres = postgres
        self._clickhouse = clickhouse
        self._audit = audit
        self._clock = clock
        self._looks = (postgres.look, redis.look, clickhouse.look)
        self._ledger = ErasureLedger(engine)
        tidying = Tidying(redis, postgres, clickhouse)
        self._means = ErasureContext(
            engine, redis, postgres, clickhouse, self._ledger, tidying, audit, clock
        )

    def request(self, user_id: str, *, by: str) -> UserErasure:
        """Marks a user as erased up to now; `carry_on` does the rest.

        Where that was done or is under way, and nothing of theirs has come since, gives that
        receipt. Raises `OnHold` under a legal hold, and `TierUnavailable` with nothing done.
        """
        before = self._ledger.load(user_id)
        now_us = self._clock.now_us()
        target = Target(user_id, ids.highest(max(now_us, self._newest_us(user_id))))
        if before is not None and not self._has_come_since(before, target):
            return before
        erasure = UserErasure(
            user_id=user_id,
            state="pending",
            erased_through=target.through,
            requested_by=by,
            requested_at=ids.timestamp(now_us),
        )
        with translated(), self._engine.begin() as connection:
            holds.refuse(connection, user_id)
            self._ledger.mark(connection, erasure, target)
            details = {"erased_through": target.through}
            self._audit.record(connection, by, "user.erase", f"user:{user_id}", details=details)
        with suppress(TierError):
            # What Redis still has is shown to nobody from here on.
            self._redis.block_writes(target, now_us)
        log.warning("user_erasure_requested", by=by)
        return erasure

    def receipt(self, user_id: str) -> UserErasure:
        """The newest receipt. Raises `NotFound`, `TierUnavailable`."""
        found = self._ledger.load(user_id)
        if found is None:
            raise NotFound
        return found

    def carry_on(self, user_id: str, tell: OnProgress = lambda _: None) -> UserErasure | None:
        """Takes out what is there, as far as the tiers answer; gives the receipt.

        Tells the receipt so far after each step. None while somebody else is at it. Raises
        `TierUnavailable` without PostgreSQL.
        """
        erasure = self._ledger.claim(user_id)
        return None if erasure is None else ErasureRun(self._means, erasure, tell).run()

    def finish_due(self) -> int:
        """Carries on whatever is not at its end, and looks again at what was; gives how many."""
        due = self._ledger.due()
        for user_id in due:
            self.carry_on(user_id)
        return len(due)

    def _newest_us(self, user_id: str) -> int:
        """The time of the user's newest message: some process's clock may be ahead of ours."""
        with translated(), self._engine.begin() as connection:
            newest = connection.execute(_NEWEST, {"user_id": user_id}).scalar_one()
        try:
            logged = self._redis.newest_logged(user_id)
        except TierError:
            logged = ids.LOWEST
        return max(ids.time_us(newest) if newest else 0, ids.time_us_of(logged))

    def _has_come_since(self, before: UserErasure, target: Target) -> bool:
        """Whether an erasure up to now finds what the one before does not see to."""
        if before.state == "done":
            try:
                return any(any(look(target).values()) for look in self._looks)
            except TierError:
                # Nobody can tell, and to look for nothing does no harm.
                return True
        # Under way, or open again for something that came late: what is older is still there.
        covered = Target(target.user_id, before.erased_through)
        for look in self._looks:
            # What comes while a tier is out goes to another.
            with suppress(TierError):
                known = look(covered)
                if any(count > known.get(kind, 0) for kind, count in look(target).items()):
                    return True
        return False
