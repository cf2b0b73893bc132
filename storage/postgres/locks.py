"""Advisory locks, by name or by the slot of a user's thread, and waiting for whoever writes."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import TierUnavailable
from storage.postgres.acting import AS_USERS
from storage.postgres.driver import execute, rows_of, translated

SLOT_LOCKS = 0x7468
"""The first half of every advisory lock of a slot; the slot is the second."""

PATIENCE = "5s"
"""How long a lock of a slot is waited for: longer than a batch takes, and shorter than anybody
waits for an answer."""

LONG_PATIENCE = "20s"
"""How long the making of tables is waited for."""

POLL_SECONDS = 0.02
UNLOCK_SECONDS = 1.0

_KEY = "hashtext('threadkeep:' || CAST(:name AS text))"
_LOCK = f"SELECT pg_advisory_xact_lock({_KEY})"
_TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({_KEY})"
_TRY_LOCK_SESSION = f"SELECT pg_try_advisory_lock({_KEY})"
_UNLOCK_SESSION = "SELECT pg_advisory_unlock_all()"
# A key of one number is kept in two halves; those of a hash differ in the lower one.
_IS_HELD = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"  # noqa: S608
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND objid = ({_KEY}::bigint & 4294967295)::oid)"
)
_LOCK_SLOT = "SELECT pg_advisory_xact_lock(:lock_class, :slot)"
_TRY_LOCK_SLOTS = (
    "SELECT slot FROM unnest(CAST(:slots AS integer[])) AS slot"
    " WHERE pg_try_advisory_xact_lock(:lock_class, slot)"
)
_GET_PATIENCE = "SELECT current_setting('lock_timeout')"
_SET_PATIENCE = "SELECT set_config('lock_timeout', :patience, true)"
_WRITERS = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (locktype = 'advisory' AND classid = :slots
       OR mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                   'AccessExclusiveLock')
          AND relation IN (SELECT oid FROM pg_class
                           WHERE relnamespace = current_schema()::regnamespace))
"""


def lock(connection: Connection, name: str, patience: str | None = None) -> None:
    """Takes a named lock until the transaction ends. It is waited for as briefly as any other lock
    of the connection, or with `patience` for so long; others are waited for as before."""
    before = execute(connection, _GET_PATIENCE).scalar_one()
    execute(connection, _SET_PATIENCE, patience=patience or before)
    execute(connection, _LOCK, name=name)
    execute(connection, _SET_PATIENCE, patience=before)


def try_lock(connection: Connection, name: str) -> bool:
    """Takes a named lock until the transaction ends; False where somebody else has it."""
    return bool(execute(connection, _TRY_LOCK, name=name).scalar_one())


@contextmanager
def session_lock(engine: Engine, *names: str) -> Iterator[Connection | None]:
    """Gives a connection that holds named locks, but no transaction open; None where somebody else
    has one of them. The locks end with the block or the connection. Raises `TierError`."""
    with translated():
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with translated():
            tried = (execute(connection, _TRY_LOCK_SESSION, name=name) for name in names)
            has_all = all(taken.scalar_one() for taken in tried)
        yield connection if has_all else None
    finally:
        with suppress(SQLAlchemyError):
            if not connection.invalidated:
                # Where the server is silent the locks end with the connection.
                driver: Any = connection.connection.driver_connection
                driver.deadline_seconds = UNLOCK_SECONDS
                execute(connection, _UNLOCK_SESSION)
        # It must not go back to the pool with a lock, nor with what the block made it wait for.
        with suppress(SQLAlchemyError):
            connection.invalidate()
        connection.close()


def is_held(connection: Connection, name: str) -> bool:
    """Whether somebody, this connection included, has a named lock."""
    return bool(execute(connection, _IS_HELD, name=name).scalar_one())


def lock_slots(connection: Connection, slots: Iterable[int], patience: str | None = None) -> None:
    """Locks slots until the transaction ends, which keeps drains and other writers away. Without
    `patience` (`PATIENCE`) each is waited for as briefly as the connection waits for any lock.
    Slots come before any other lock: two who wait for each other are one deadlock."""
    if patience is not None:
        execute(connection, _SET_PATIENCE, patience=patience)
    for slot in sorted(slots):
        execute(connection, _LOCK_SLOT, lock_class=SLOT_LOCKS, slot=slot)


def lock_slot_for(connection: Connection, user_id: str, slot: int) -> None:
    """Locks a slot likewise, and has the transaction act for a user alone: one round trip."""
    values = {"acting_for": [user_id], "lock_class": SLOT_LOCKS, "slot": slot}
    execute(connection, f"{AS_USERS}; {_LOCK_SLOT}", values)


def try_lock_slots(connection: Connection, slots: Sequence[int]) -> list[int]:
    """Locks the slots that nobody else drains, until the transaction ends; gives those."""
    wanted = {"lock_class": SLOT_LOCKS, "slots": list(slots)}
    return list(execute(connection, _TRY_LOCK_SLOTS, wanted).scalars())


def wait_for_writers(engine: Engine, seconds: float) -> None:
    """Returns when every transaction that is writing now has ended: one that began before a user
    was marked as erased does not see the mark. Raises `TierUnavailable`, passing, where one goes
    on for longer than that."""
    deadline = time.monotonic() + seconds
    waited_for = _writers(engine)
    while waited_for:
        if time.monotonic() > deadline:
            reason = f"{len(waited_for)} transactions go on for more than {seconds:g} s"
            raise TierUnavailable("postgresql", reason, passing=True)
        time.sleep(POLL_SECONDS)
        waited_for &= _writers(engine)


def _writers(engine: Engine) -> set[str]:
    return {row.virtualtransaction for row in rows_of(engine, _WRITERS, slots=SLOT_LOCKS)}
