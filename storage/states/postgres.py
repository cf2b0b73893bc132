"""States in PostgreSQL: read for one user, written before an answer or while Redis is down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Engine

from models import codec, ids
from models.state import EMPTY, Checkpoint, StateName, StateRecord, StoredCheckpoint
from storage.availability.bypass import BypassRegistration
from storage.errors import VersionConflict
from storage.postgres import states
from storage.postgres.driver import execute, record_of, translated
from storage.postgres.locks import lock_slot_for
from storage.postgres.reads import PostgresTier
from storage.resilience.breaker import Breaker

Done = TypeVar("Done")

FORGET_SECONDS = 3_600
"""Expired and deleted states are hidden at once, and removed so much later."""

_CHECKPOINTS = """
SELECT version, level AS checkpoint, created_at, octet_length(state::text) AS size_bytes,
       CASE WHEN :whole THEN state::text END AS state
FROM checkpoints
WHERE user_id = :user_id AND run_id = :name AND version > :after AND version < :before
ORDER BY version DESC LIMIT :count
"""
_LAST_NUMBER = "SELECT last_value FROM row_copies_outbox_sequence_seq"
# Only rows queued by this transaction: others may own numbers in between.
_QUEUED = (
    "SELECT sequence FROM row_copies_outbox"
    " WHERE sequence > :before AND xmin = pg_current_xact_id()::xid"
)
_QUEUED_OF = """
SELECT sequence FROM row_copies_outbox
WHERE row ->> 'user_id' = :user_id AND (
    table_name = 'state_records' AND row ->> 'name' = :name AND row ->> 'kind' = :kind
    OR table_name = 'checkpoints' AND row ->> 'run_id' = :name)
"""
_FORGET = """
WITH gone AS (
    DELETE FROM state_records
    WHERE least(expires_at, deleted_at) < clock_timestamp() - make_interval(secs => :seconds)
    RETURNING kind, user_id, name
), history AS (
    DELETE FROM checkpoints c USING gone g
    WHERE g.kind = 'run' AND c.user_id = g.user_id AND c.run_id = g.name
)
SELECT count(*) FROM gone
"""


@dataclass(eq=False)
class StateRows:
    """Reads and writes of states. Errors leave as `TierUnavailable`, `TierRejected`."""

    _tier: PostgresTier
    _engine: Engine
    _breaker: Breaker
    _bypass: BypassRegistration
    _slots: int

    def load(self, whose: StateName) -> StateRecord | None:
        """The committed version, or a tombstone, also where its user was erased; None for none."""
        with self._tier.as_user(whose.user_id) as connection:
            return next(iter(states.find(connection, [whose])), None)

    def enter(self) -> None:
        """Returns once no process acknowledges a write from Redis alone, so that writes may bypass
        it. Raises `TierUnavailable`."""
        with self._breaker.guard():
            self._bypass.acquire()

    def commit(self, record: StateRecord) -> tuple[int, list[int]]:
        """Commits a version that Redis has, unless a newer one is there; gives the version that is,
        and the numbers of its queued copies for ClickHouse."""
        with self._breaker.guard(), self._transaction(record.whose) as (connection, before):
            if states.upsert(connection, [codec.encode(record)]):
                return record.version, _queued(connection, before)
            found = states.find(connection, [record.whose])
            # A drain was faster, and its copies may still be queued.
            waiting = execute(connection, _QUEUED_OF, record.whose._asdict()).scalars()
            return found[0].version if found else record.version, list(waiting)

    def commit_with(
        self, record: StateRecord, known: int, write: Callable[[], Done]
    ) -> tuple[Done, list[int]]:
        """Commits a version that `write` puts into Redis meanwhile, so that no write bypasses Redis
        before both have it. Gives the result of `write`, and the numbers of its queued copies.

        Raises `VersionConflict` where PostgreSQL has a version above the known one.
        """
        with self._breaker.guard(), self._transaction(record.whose) as (connection, before):
            found = states.find(connection, [record.whose])
            if found and found[0].version > known:
                raise VersionConflict(b"")
            done = write()
            states.upsert(connection, [codec.encode(record)])
            return done, _queued(connection, before)

    def commit_beside(self, record: StateRecord, expected_version: int) -> list[int]:
        """Commits a version that Redis cannot take; gives the numbers of its queued copies. Raises
        `VersionConflict` where PostgreSQL has another version than the expected one."""
        with self._breaker.guard():
            self._bypass.acquire()
            with self._transaction(record.whose) as (connection, before):
                if not states.replace(connection, record, expected_version):
                    raise VersionConflict(b"")
                states.queue_backfill(connection, [record.whose])
                return _queued(connection, before)

    def checkpoints(
        self, whose: StateName, *, after: int, before: int, count: int, whole: bool
    ) -> list[StoredCheckpoint]:
        """Checkpoints of a run with `after` < version < `before`, newest first; without `whole`
        with empty states."""
        values = {"after": after, "before": before, "count": count, "whole": whole}
        with self._tier.as_user(whose.user_id) as connection:
            rows = execute(connection, _CHECKPOINTS, whose._asdict() | values).all()
        states = (msgspec.Raw(row.state.encode()) if whole else EMPTY for row in rows)
        return list(zip((record_of(Checkpoint, row) for row in rows), states, strict=True))

    @contextmanager
    def _transaction(self, whose: StateName) -> Iterator[tuple[Connection, int]]:
        """A transaction that alone has a state's slot; and the last number queued before it."""
        with translated(), self._engine.begin() as connection:
            # A drain of the same slot writes the same rows in another order.
            slot = ids.shard_of(whose.user_id, whose.name) % self._slots
            lock_slot_for(connection, whose.user_id, slot)
            yield connection, int(execute(connection, _LAST_NUMBER).scalar_one())


def forget_expired(engine: Engine) -> int:
    """Removes states that expired or were deleted a while ago, with their checkpoints; gives how
    many states. Raises `TierError`."""
    with translated(), engine.begin() as connection:
        return int(execute(connection, _FORGET, seconds=FORGET_SECONDS).scalar_one())


def _queued(connection: Connection, before: int) -> list[int]:
    return list(execute(connection, _QUEUED, before=before - 1).scalars())
