"""Writes straight to PostgreSQL while Redis is down, with the same ids and the same answers.

Everything a write needs is one transaction. A message that Redis may have taken all the same,
because its answer was lost, meets itself here by its id.
"""

import time
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, Engine

from models import codec, ids
from models.appends import Append
from models.message import Message, Thread
from storage.availability.bypass import BypassRegistration
from storage.errors import TierRejected, TierUnavailable, VersionConflict
from storage.messages.append_plan import AcknowledgedBefore, Answer, AppendPlan, wanted_of
from storage.postgres import idempotency, writes
from storage.postgres.acting import AS_USERS
from storage.postgres.driver import execute, translated
from storage.postgres.engines import hurried, retry_with_longer_deadline
from storage.postgres.locks import lock_slot_for, lock_slots
from storage.postgres.partitions import Partitions
from storage.resilience import budget
from storage.resilience.breaker import Breaker

HURRY_SECONDS = 0.15
PAUSE_SECONDS = 5.0
_NEWEST = f"""{AS_USERS};
SELECT r.user_id, r.thread_id, greatest(deleted_through, e.erased_through, (
    SELECT id FROM messages m WHERE m.user_id = r.user_id AND m.thread_id = r.thread_id
    ORDER BY id DESC LIMIT 1))::text AS newest
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
"""  # noqa: S608


class DirectPostgres:
    """The write verbs beside Redis. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(
        self,
        engine: Engine,
        patient_engine: Engine,
        breaker: Breaker,
        bypass: BypassRegistration,
        *,
        slots: int,
        idempotency_seconds: int,
    ) -> None:
        self._engine = engine
        self._patient_engine = patient_engine
        self._breaker = breaker
        self._bypass = bypass
        self._partitions = Partitions(engine)
        self._idempotency_seconds = idempotency_seconds
        self._slots = slots
        self._not_asked_before = 0.0

    def known(self, appends: Sequence[Append], *, hurries: bool) -> AcknowledgedBefore | None:
        """What these appends must respect; None where PostgreSQL does not say so in time.

        It is asked beside a write to Redis. Who `hurries`, because PostgreSQL has not answered of
        late, gives it little time, and does not ask again for a while where that was too little.
        """
        if not self._breaker.is_closed or (hurries and time.monotonic() < self._not_asked_before):
            return None
        try:
            if hurries:
                # So little that it says nothing of the tier if it is not enough.
                with (
                    translated(),
                    self._engine.begin() as connection,
                    hurried(connection, HURRY_SECONDS),
                ):
                    return self._known(connection, appends)
            with self._breaker.guard(), translated(), self._engine.begin() as connection:
                return self._known(connection, appends)
        except TierUnavailable:
            self._not_asked_before = time.monotonic() + PAUSE_SECONDS
            return None

    def append(self, appends: Sequence[Append]) -> list[Answer]:
        """Commits new messages, each append's all or none; a refused one answers for itself."""
        size = sum(append.size for append in appends)
        with self._breaker.guard(is_bulk=size > budget.LARGE_BYTES):
            self._bypass.acquire()
            self._partitions.ensure_for(one.id for append in appends for one in append.messages)
            try:
                return self._append_patiently(appends)
            except TierRejected as error:
                if len(appends) == 1:
                    return [error]
            return [answer for append in appends for answer in self._alone(append)]

    def revise(self, message: Message) -> None:
        """Commits a version of a message. Raises `VersionConflict` where it is not the newest."""
        with self._breaker.guard():
            self._bypass.acquire()
            self._partitions.ensure_for([message.id])
            record = codec.encode(message)
            slot = ids.shard_in(message.id) % self._slots
            with translated(), self._engine.begin() as connection:
                lock_slot_for(connection, message.user_id, slot)
                if not writes.upsert_messages(connection, [record]):
                    raise VersionConflict(b"")
                writes.queue_backfill(connection, [message])

    def put_thread(self, thread: Thread) -> None:
        """Commits a version of a thread's own data. Raises `VersionConflict` likewise."""
        with self._breaker.guard():
            self._bypass.acquire()
            shard = ids.shard_of(thread.user_id, thread.id)
            with translated(), self._engine.begin() as connection:
                # A drain that had not heard of a deletion would open the thread anew.
                lock_slot_for(connection, thread.user_id, shard % self._slots)
                if not writes.upsert_thread(connection, thread):
                    raise VersionConflict(b"")
                writes.queue_backfill(connection, [thread])

    def _alone(self, append: Append) -> list[Answer]:
        try:
            return self._append([append])
        except TierRejected as error:
            return [error]

    def _append_patiently(self, appends: Sequence[Append]) -> list[Answer]:
        def act(engine: Engine) -> list[Answer]:
            if engine is self._engine:
                return self._append(appends)
            again = [append._replace(ids_are_final=True) for append in appends]
            return self._append(again, engine)

        return retry_with_longer_deadline(self._engine, self._patient_engine, act)

    def _append(self, appends: Sequence[Append], engine: Engine | None = None) -> list[Answer]:
        with translated(), (engine or self._engine).begin() as connection:
            self._lock(connection, (one.id for append in appends for one in append.messages))
            known = self._known(connection, appends)
            plan = AppendPlan(appends, known)
            idempotency.free(connection, plan.gone)
            claimed = idempotency.claim(connection, plan.made(), self._idempotency_seconds)
            plan.yield_to(claimed)
            if plan.fresh:
                records = [one.record for one in plan.fresh.values()]
                writes.upsert_messages(connection, records)
                writes.queue_backfill(connection, map(codec.decode, records))
        return plan.answers()

    def _lock(self, connection: Connection, message_ids: Iterable[str]) -> None:
        """Keeps drains of the same slots away: two who write one message at once both count it."""
        slots = {ids.shard_in(message_id) % self._slots for message_id in message_ids}
        lock_slots(connection, slots)

    def _known(self, connection: Connection, appends: Sequence[Append]) -> AcknowledgedBefore:
        """What is known of these appends. From here on the transaction acts for their users."""
        threads = {(append.user_id, append.thread_id) for append in appends}
        named = [{"user_id": user, "thread_id": thread} for user, thread in threads]
        values = {
            "threads": msgspec.json.encode(named).decode(),
            "acting_for": sorted({append.user_id for append in appends}),
        }
        rows = execute(connection, _NEWEST, values).all()
        newest = {(row.user_id, row.thread_id): row.newest for row in rows if row.newest}
        wanted = wanted_of(appends)
        return AcknowledgedBefore(
            newest, idempotency.find(connection, wanted, self._idempotency_seconds)
        )
