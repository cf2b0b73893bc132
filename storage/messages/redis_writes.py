"""Writes to Redis; PostgreSQL is asked what Redis may have lost while Redis is not complete."""

from collections.abc import Sequence

from models import codec
from models.appends import Append, Stored
from models.message import Message, Thread
from storage.availability.lease import Lease
from storage.availability.loss_audit import LossAudit
from storage.errors import TierUnavailable, VersionConflict
from storage.messages.append_plan import (
    AcknowledgedBefore,
    Answer,
    ask_remaining,
    wanted_of,
)
from storage.messages.idempotency import IdempotencyGuard
from storage.messages.postgres_writes import DirectPostgres
from storage.redis.log_quota import LogQuota
from storage.redis.messages import RedisTier
from storage.redis.repair import RedisRepair
from storage.resilience import budget


class RedisWrites:
    """The write verbs of Redis for the chain."""

    def __init__(
        self,
        redis: RedisTier,
        repair: RedisRepair,
        postgres: DirectPostgres,
        lease: Lease,
        quota: LogQuota,
        loss_audit: LossAudit,
        keys: IdempotencyGuard,
        idempotency_seconds: int,
    ) -> None:
        self._redis = redis
        self._repair = repair
        self._postgres = postgres
        self._lease = lease
        self._quota = quota
        self._loss_audit = loss_audit
        self._keys = keys
        self._idempotency_seconds = idempotency_seconds

    def append(self, appends: Sequence[Append]) -> Sequence[Answer]:
        """Acknowledges new messages, each append's all or none.

        A Redis that is only full still says what its keys have made.
        """
        # A list costs fewer calls than a generator, as everywhere on this road.
        is_keyed = any([append.is_keyed for append in appends])  # noqa: C419
        try:
            self._quota.admit()
        except TierUnavailable as full:
            answers = self._repeats(appends, full)
        else:
            known = self._known(appends, is_keyed=is_keyed)
            if known is None:
                answers = self._append(appends)
            else:
                answers = ask_remaining(appends, known, self._append)
        if is_keyed:
            self._keys.recording("redis", appends, answers)
        return answers

    def _append(self, appends: Sequence[Append]) -> Sequence[Answer]:
        answers = self._redis.append(appends, self._idempotency_seconds)
        self._note(appends, answers)
        return answers

    def _note(self, appends: Sequence[Append], answers: Sequence[Answer]) -> None:
        for append, answer in zip(appends, answers, strict=True):
            if isinstance(answer, Stored):
                for message_id in answer.ids:
                    self._loss_audit.note(append.user_id, append.thread_id, message_id, 1)

    def revise(self, current: Message, revised: Message) -> bool:
        """Acknowledges the next version of a message; gives whether to wake a worker.

        Raises `VersionConflict`, after a copy that was older than the current version was renewed.
        """
        self._quota.admit()
        try:
            wake = self._redis.revise(revised, expected_version=current.version)
            self._loss_audit.note(revised.user_id, revised.thread_id, revised.id, revised.version)
            return wake
        except VersionConflict as conflict:
            if codec.decode(conflict.current).version < current.version:
                self._repair.refresh([current])
            raise

    def put_thread(self, current: Thread | None, thread: Thread) -> bool:
        """Acknowledges a version of a thread's own data; gives whether to wake a worker.

        Raises `VersionConflict` likewise.
        """
        self._quota.admit()
        try:
            return self._redis.put_thread(
                thread, expected_version=current.version if current else 0
            )
        except VersionConflict as conflict:
            hot = codec.decode_thread(conflict.current) if conflict.current else None
            if hot is not None and current is not None and hot.version < current.version:
                self._repair.refresh_thread(current)
            raise

    def _known(self, appends: Sequence[Append], *, is_keyed: bool) -> AcknowledgedBefore | None:
        """What these appends must respect and Redis may not know; None where there is nothing.

        Redis itself is asked what it has of something large: whoever repeats that need not send it
        once more, and so gets through at last where there was no time for all of it.
        """
        known = self._known_to_postgres(appends, is_keyed=is_keyed)
        if not is_keyed:
            return known
        made = self._keys.replaying("redis", appends)
        if sum(append.size for append in appends) > budget.LARGE_BYTES:
            made = self._redis.made(list(wanted_of(appends))) | made
        if not made:
            return known
        newest, committed = known or AcknowledgedBefore({}, {})
        return AcknowledgedBefore(newest, {**committed, **made})

    def _known_to_postgres(
        self, appends: Sequence[Append], *, is_keyed: bool
    ) -> AcknowledgedBefore | None:
        """What PostgreSQL knows, where that matters and it answers."""
        trusted = self._lease.current(wait=False)
        if trusted.redis_complete and trusted.keys_complete:
            return None
        if not is_keyed:
            # Only the order of ids depends on it; what PostgreSQL said last is the best guess.
            last = trusted if trusted.is_known else self._lease.last_known()
            if last.redis_complete or not last.is_known:
                return None
        # Whoever has no lease is not waited for by those who write beside Redis, even where it was
        # only too slow to renew it. So it asks before it believes Redis about a key.
        return self._postgres.known(appends, hurries=not trusted.is_known)

    def _repeats(self, appends: Sequence[Append], full: TierUnavailable) -> Sequence[Answer]:
        """The answers to what was posted before; `full` for all else."""
        made = self._redis.made(list(wanted_of(appends))) | self._keys.replaying("redis", appends)
        return ask_remaining(appends, AcknowledgedBefore({}, made), lambda rest: [full] * len(rest))
