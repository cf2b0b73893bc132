"""Erases a user from every tier, with a receipt that says what was removed where. PostgreSQL marks
the user first: from then on nothing at or below the watermark is taken in or shown. Then the tiers
are cleared until counting finds nothing; later counts find what was under way."""

from contextlib import suppress

import structlog

from jobs.audit import AuditTrail
from jobs.erase import chain_stump, policies
from jobs.erase.receipt import Target, UserErasure
from jobs.erase.run import ErasureContext, ErasureRun, OnProgress
from jobs.replicate.row_outbox import RowCopies
from models import ids
from storage.errors import NotFound, TierError
from storage.postgres.driver import rows_of, translated
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

_NEWEST = (
    "SELECT greatest(max(last_message_at), max(created_at),"
    " (SELECT max(updated_at) FROM state_records WHERE user_id = :user_id))"
    " FROM threads WHERE user_id = :user_id"
)


class UserErasureService:
    """The erasure of users. Safe to repeat, and to stop at any point."""

    def __init__(self, tiers: Tiers, copies: RowCopies, audit: AuditTrail) -> None:
        self._context = ErasureContext(tiers, copies, audit)

    def request(self, user_id: str, *, by: str) -> UserErasure:
        """Marks a user as erased up to now; `carry_on` does the rest. Gives the earlier
        receipt where nothing of theirs has come since. Raises `OnHold` under a legal hold, and
        `TierUnavailable` with nothing done."""
        context = self._context
        before = context.ledger.load(user_id)
        now_us = context.clock.now_us()
        target = Target(user_id, ids.highest(max(now_us, self._newest_us(user_id))))
        if before is not None and not self._has_come_since(before, target):
            return before
        with translated(), context.engine.begin() as connection:
            policies.refuse_held(connection, user_id)
            # Here and not where it is carried out: a worker has not got the secret.
            secret = context.settings.signing_secret
            erasure = UserErasure(
                user_id=user_id,
                state="pending",
                erased_through=target.through,
                requested_by=by,
                requested_at=ids.timestamp(now_us),
                chains=chain_stump.take(connection, *target, secret),
            )
            context.ledger.mark(connection, erasure, target)
            details = {"erased_through": target.through}
            context.audit.record(connection, by, "user.erase", f"user:{user_id}", details=details)
        with suppress(TierError):
            # What Redis still has is shown to nobody from here on.
            context.redis.block_writes(target)
        log.warning("user_erasure_requested", by=by)
        return erasure

    def receipt(self, user_id: str) -> UserErasure:
        """The newest receipt. Raises `NotFound`, `TierUnavailable`."""
        found = self._context.ledger.load(user_id)
        if found is None:
            raise NotFound
        return found

    def carry_on(
        self, user_id: str, on_progress: OnProgress = lambda _: None
    ) -> UserErasure | None:
        """Takes out what is there, as far as the tiers answer; gives the receipt, and
        tells it after each step. None while somebody else is at it. Raises `TierUnavailable`
        without PostgreSQL."""
        erasure = self._context.ledger.claim(user_id)
        return None if erasure is None else ErasureRun(self._context, erasure, on_progress).run()

    def finish_due(self) -> int:
        """Carries on whatever is not at its end, and counts again what was; gives how many."""
        due = self._context.ledger.due()
        for user_id in due:
            self.carry_on(user_id)
        return len(due)

    def _newest_us(self, user_id: str) -> int:
        """The time of the user's newest message: some process's clock may be ahead of ours."""
        newest = rows_of(self._context.engine, _NEWEST, user_id=user_id)[0][0]
        try:
            logged = self._context.redis.newest_logged(user_id)
        except TierError:
            logged = ids.LOWEST
        return max(ids.time_us(newest) if newest else 0, ids.time_us_of(logged))

    def _has_come_since(self, before: UserErasure, target: Target) -> bool:
        """Whether an erasure up to now finds what the one before does not see to."""
        counts = self._context.counts.values()
        if before.state == "done":
            try:
                return any(any(count(target).values()) for count in counts)
            except TierError:
                # Nobody can tell, and to look for nothing does no harm.
                return True
        # Under way, or open again for something that came late: what is older is still there.
        covered = Target(target.user_id, before.erased_through)
        for count in counts:
            # What comes while a tier is out goes to another.
            with suppress(TierError):
                known = count(covered)
                if any(rows > known.get(kind, 0) for kind, rows in count(target).items()):
                    return True
        return False
