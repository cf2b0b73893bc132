"""Writes straight to PostgreSQL while Redis is out, with the same ids and the same answers.

Everything a write needs is one transaction: the Idempotency-Key, the row, its thread, the outbox,
and a note of what Redis lacks. A message that Redis may have taken all the same, because its
answer was lost, meets itself here by its id.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, text

from models import codec, ids
from models.appends import Append, IdTooOld, Key, NewMessage, Stored
from models.message import Message, Thread
from storage.availability.bypass import BypassRegistration
from storage.errors import TierError, TierRejected, TierUnavailable, VersionConflict
from storage.postgres import idempotency, writes
from storage.postgres.driver import translated
from storage.postgres.engines import hurried, retry_with_longer_deadline
from storage.postgres.locks import lock_slots
from storage.postgres.partitions import Partitions
from storage.resilience import budget
from storage.resilience.breaker import Breaker

HURRY_SECONDS = 0.15
PAUSE_SECONDS = 5.0
_NEWEST = text(
    """
SELECT r.user_id, r.thread_id, greatest(deleted_through, e.erased_through, (
    SELECT id FROM messages m WHERE m.user_id = r.user_id AND m.thread_id = r.thread_id
    ORDER BY id DESC LIMIT 1))::text AS newest
FROM json_to_recordset(CAST(:threads AS json)) AS r (user_id text, thread_id text)
LEFT JOIN threads t ON t.user_id = r.user_id AND t.id = r.thread_id
LEFT JOIN user_erasures e ON e.user_id = r.user_id
"""
)


class AcknowledgedBefore(NamedTuple):
    """What PostgreSQL knows that a new message must respect: the newest id of each thread, and
    the messages that Idempotency-Keys have made."""

    newest: dict[tuple[str, str], str]
    made: dict[Key, str]

    def before(self, key: Key, one: NewMessage) -> str | None:
        """What the key of a new message has made, unless that is gone."""
        made = self.made.get(key)
        return made if made is not None and made > one.instead_of else None


class DirectPostgres:
    """The write verbs beside Redis. Errors leave as `TierUnavailable` and `TierRejected`."""

    def __init__(
        self,
        engine: Engine,
        patient_engine: Engine,
        breaker: Breaker,
        detour: BypassRegistration,
        *,
        slots: int,
        idempotency_seconds: int,
    ) -> None:
        self._engine = engine
        self._patient_engine = patient_engine
        self._breaker = breaker
        self._detour = detour
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

    def append(self, appends: Sequence[Append]) -> list[Stored | IdTooOld | TierError]:
        """Commits new messages, each append's all or none; a refused one answers for itself."""
        size = sum(append.size for append in appends)
        with self._breaker.guard(is_bulk=size > budget.LARGE_BYTES):
            self._detour.acquire()
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
            self._detour.acquire()
            self._partitions.ensure_for([message.id])
            record = codec.encode(message)
            with translated(), self._engine.begin() as connection:
                self._lock(connection, [message.id])
                if not writes.upsert_messages(connection, [record]):
                    raise VersionConflict(b"")
                writes.queue_backfill(connection, [message])

    def put_thread(self, thread: Thread) -> None:
        """Commits a version of a thread's own data. Raises `VersionConflict` likewise."""
        with self._breaker.guard():
            self._detour.acquire()
            shard = ids.shard_of(thread.user_id, thread.id)
            with translated(), self._engine.begin() as connection:
                # A drain that had not heard of a deletion would open the thread anew.
                lock_slots(connection, [shard % self._slots])
                if not writes.upsert_thread(connection, thread):
                    raise VersionConflict(b"")
                writes.queue_backfill(connection, [thread])

    def _alone(self, append: Append) -> list[Stored | IdTooOld | TierError]:
        try:
            return self._append([append])
        except TierRejected as error:
            return [error]

    def _append_patiently(self, appends: Sequence[Append]) -> list[Stored | IdTooOld | TierError]:
        def act(engine: Engine) -> list[Stored | IdTooOld | TierError]:
            if engine is self._engine:
                return self._append(appends)
            again = [append._replace(ids_are_final=True) for append in appends]
            return self._append(again, engine)

        return retry_with_longer_deadline(self._engine, self._patient_engine, act)

    def _append(
        self, appends: Sequence[Append], engine: Engine | None = None
    ) -> list[Stored | IdTooOld | TierError]:
        with translated(), (engine or self._engine).begin() as connection:
            self._lock(connection, (one.id for append in appends for one in append.messages))
            known = self._known(connection, appends)
            plan = Plan(appends, known)
            idempotency.free(connection, plan.gone)
            claimed = idempotency.claim(connection, plan.keys, self._idempotency_seconds)
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
        threads = {(append.user_id, append.thread_id) for append in appends}
        named = [{"user_id": user, "thread_id": thread} for user, thread in threads]
        rows = connection.execute(_NEWEST, {"threads": msgspec.json.encode(named).decode()}).all()
        newest = {(row.user_id, row.thread_id): row.newest for row in rows if row.newest}
        wanted = wanted_of(appends)
        return AcknowledgedBefore(
            newest, idempotency.find(connection, wanted, self._idempotency_seconds)
        )


def keyed(append: Append) -> list[tuple[Key, NewMessage]]:
    """The messages of an append that have an Idempotency-Key, with it."""
    return [
        (Key(append.user_id, append.thread_id, one.idempotency_key), one)
        for one in append.messages
        if one.idempotency_key is not None
    ]


def wanted_of(appends: Iterable[Append]) -> dict[Key, str]:
    """The keys of new messages, each with the id up to which what it made is gone."""
    wanted: dict[Key, str] = {}
    for append in appends:
        for key, one in keyed(append):
            wanted[key] = max(one.instead_of, wanted.get(key, ""))
    return wanted


class Plan:
    """What becomes of each message of some appends, given what is known already.

    `fresh` are the messages to be written, by id; `keys` what they claim; `gone` are those keys
    that stood for something which is gone, with its id.
    """

    def __init__(self, appends: Sequence[Append], known: AcknowledgedBefore) -> None:
        self._appends = appends
        self._behind: dict[int, str] = {}
        self._instead: dict[str, str] = {}
        self.fresh: dict[str, NewMessage] = {}
        self.keys: dict[Key, str] = {}
        self.gone = {key: gone for key, gone in wanted_of(appends).items() if gone}
        known = known._replace(made=dict(known.made))
        for at, append in enumerate(appends):
            self._take(at, append, known)

    def _take(self, at: int, append: Append, known: AcknowledgedBefore) -> None:
        keys = {one.id: key for key, one in keyed(append)}
        newest = known.newest.get((append.user_id, append.thread_id))
        own: dict[Key, str] = {}
        fresh = []
        for one in append.messages:
            key = keys.get(one.id)
            first = known.before(key, one) or own.get(key) if key else None
            if first is not None:
                self._instead[one.id] = first
                continue
            fresh.append(one)
            if key is not None:
                own[key] = one.id
        if fresh and not append.ids_are_final and newest is not None and fresh[0].id <= newest:
            self._behind[at] = newest
            return
        known.made.update(own)
        self.keys.update(own)
        self.fresh.update({one.id: one for one in fresh})

    def yield_to(self, claimed: dict[Key, str]) -> None:
        """Lets go of messages whose key somebody else took at the same moment."""
        for key, mine in self.keys.items():
            theirs = claimed[key]
            if theirs != mine:
                self._instead[mine] = theirs
                del self.fresh[mine]

    def answers(self) -> list[Stored | IdTooOld | TierError]:
        """An answer for each append, in order."""
        return [
            IdTooOld(self._behind[at])
            if at in self._behind
            else Stored([self._instead.get(one.id, one.id) for one in append.messages], False)
            for at, append in enumerate(self._appends)
        ]
