"""States in PostgreSQL: read for one user, written before an answer or beside Redis."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, text

from models import codec, ids
from models.state import Checkpoint, StateName, StateRecord, WholeCheckpoint
from storage.availability.bypass import BypassRegistration
from storage.errors import VersionConflict
from storage.postgres import states
from storage.postgres.driver import rfc3339, translated
from storage.postgres.locks import lock_slots
from storage.postgres.reads import PostgresTier
from storage.resilience.breaker import Breaker

Done = TypeVar("Done")

FORGET_SECONDS = 3_600
"""What has expired or was deleted is hidden at once, and so long later gone."""

_CHECKPOINTS = text(
    """
SELECT version, level, created_at, octet_length(state::text) AS size_bytes FROM checkpoints
WHERE user_id = :user_id AND run_id = :run_id AND version > :after AND version < :before
ORDER BY version DESC LIMIT :count
"""
)
_CHECKPOINT = text(
    """
SELECT version, level, created_at, state::text AS state FROM checkpoints
WHERE user_id = :user_id AND run_id = :run_id AND version = :version
"""
)
_LAST_NUMBER = text("SELECT last_value FROM row_copies_outbox_sequence_seq")
# Of this transaction, between what others queue at the same time.
_QUEUED = text(
    "SELECT sequence FROM row_copies_outbox"
    " WHERE sequence > :before AND xmin = pg_current_xact_id()::xid"
)
_QUEUED_OF = text(
    """
SELECT sequence FROM row_copies_outbox
WHERE row ->> 'user_id' = :user_id AND (
    table_name = 'state_records' AND row ->> 'name' = :name AND row ->> 'kind' = :kind
    OR table_name = 'checkpoints' AND row ->> 'run_id' = :name)
"""
)
_FORGET = text(
    """
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
)


class StateRows:
    """The verbs of states in PostgreSQL. Errors leave as `TierUnavailable`, `TierRejected`."""

    def __init__(
        self,
        tier: PostgresTier,
        engine: Engine,
        breaker: Breaker,
        detour: BypassRegistration,
        *,
        slots: int,
    ) -> None:
        self._tier = tier
        self._engine = engine
        self._breaker = breaker
        self._detour = detour
        self._slots = slots

    def load(self, whose: StateName) -> StateRecord | None:
        """The committed version, a tombstone included; one whose user was erased is one too."""
        with self._tier.as_user(whose.user_id) as connection:
            return next(iter(states.find(connection, [whose])), None)

    def enter(self) -> None:
        """Returns when a write beside Redis may be acknowledged, and so when nothing more is
        acknowledged from Redis alone. Raises `TierUnavailable`."""
        with self._breaker.guard():
            self._detour.acquire()

    def commit(self, record: StateRecord) -> tuple[int, list[int]]:
        """Commits a version that Redis has taken, unless a newer one is there; gives the version
        that is, and the numbers of its copies on their way to ClickHouse."""
        with self._breaker.guard(), translated(), self._engine.begin() as connection:
            before = self._begin(connection, record.whose)
            if states.upsert(connection, [codec.encode(record)]):
                return record.version, _queued(connection, before)
            found = states.find(connection, [record.whose])
            # A drain was faster, and its copies may still wait.
            waiting = connection.execute(_QUEUED_OF, record.whose._asdict()).scalars()
            return found[0].version if found else record.version, list(waiting)

    def commit_with(
        self, record: StateRecord, known: int, write: Callable[[], Done]
    ) -> tuple[Done, list[int]]:
        """Commits a version that `write` puts into Redis meanwhile: nobody writes beside Redis
        before both have it. Gives what `write` gives, and the numbers of its copies.

        Raises `VersionConflict` where a version above the known one is there.
        """
        with self._breaker.guard(), translated(), self._engine.begin() as connection:
            before = self._begin(connection, record.whose)
            found = states.find(connection, [record.whose])
            if found and found[0].version > known:
                raise VersionConflict(b"")
            done = write()
            states.upsert(connection, [codec.encode(record)])
            return done, _queued(connection, before)

    def commit_beside(self, record: StateRecord, expected_version: int) -> list[int]:
        """Commits a version that Redis cannot take; gives the same.

        Raises `VersionConflict` where it does not rest on the newest.
        """
        with self._breaker.guard():
            self._detour.acquire()
            with translated(), self._engine.begin() as connection:
                before = self._begin(connection, record.whose)
                if not states.replace(connection, record, expected_version):
                    raise VersionConflict(b"")
                states.queue_backfill(connection, [record.whose])
                return _queued(connection, before)

    def checkpoints(
        self, whose: StateName, *, after: int, before: int, count: int
    ) -> list[Checkpoint]:
        """Checkpoints of a run with `after` < version < `before`, newest first."""
        values = {"after": after, "before": before, "count": count, **_run(whose)}
        with self._tier.as_user(whose.user_id) as connection:
            rows = connection.execute(_CHECKPOINTS, values).all()
        return [
            Checkpoint(
                version=row.version,
                checkpoint=row.level,
                created_at=rfc3339(row.created_at),
                size_bytes=row.size_bytes,
            )
            for row in rows
        ]

    def checkpoint(self, whose: StateName, version: int) -> WholeCheckpoint | None:
        """One of them, whole."""
        with self._tier.as_user(whose.user_id) as connection:
            values = {"version": version, **_run(whose)}
            row = connection.execute(_CHECKPOINT, values).one_or_none()
        if row is None:
            return None
        return WholeCheckpoint(
            version=row.version,
            checkpoint=row.level,
            created_at=rfc3339(row.created_at),
            state=msgspec.Raw(row.state.encode()),
        )

    def _begin(self, connection: Connection, whose: StateName) -> int:
        # A drain of the same slot writes the same rows, in an order of its own.
        slot = ids.shard_of(whose.user_id, whose.name) % self._slots
        lock_slots(connection, [slot])
        return int(connection.execute(_LAST_NUMBER).scalar_one())


def forget_expired(engine: Engine) -> int:
    """Takes out states that expired or were deleted a while ago, with their checkpoints; gives how
    many states. Raises `TierError`."""
    with translated(), engine.begin() as connection:
        return int(connection.execute(_FORGET, {"seconds": FORGET_SECONDS}).scalar_one())


def _run(whose: StateName) -> dict[str, Any]:
    return {"user_id": whose.user_id, "run_id": whose.name}


def _queued(connection: Connection, before: int) -> list[int]:
    return list(connection.execute(_QUEUED, {"before": before - 1}).scalars())
