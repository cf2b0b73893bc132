"""Waiting until nobody is at work any more who began before now.

A write that began before a user was marked as erased does not see the mark, and may commit after
everything was looked through. Whoever is writing holds locks that PostgreSQL shows: those who hold
any now are waited for, and nobody is kept from anything.
"""

import time

from sqlalchemy import Engine, text

from storage.errors import TierUnavailable
from storage.postgres.driver import translated
from storage.postgres.writes import SLOT_LOCKS

POLL_SECONDS = 0.02

_WRITERS = text(
    """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (locktype = 'advisory' AND classid = :slots
       OR mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                   'AccessExclusiveLock')
          AND relation IN (SELECT oid FROM pg_class
                           WHERE relnamespace = current_schema()::regnamespace))
"""
)


def wait_for_writers(engine: Engine, seconds: float) -> None:
    """Returns when every transaction that is writing now has ended.

    Raises `TierUnavailable`, passing, where one goes on for longer than that.
    """
    deadline = time.monotonic() + seconds
    waited_for = _writers(engine)
    while waited_for:
        if time.monotonic() > deadline:
            reason = f"{len(waited_for)} transactions go on for more than {seconds:g} s"
            raise TierUnavailable("postgresql", reason, passing=True)
        time.sleep(POLL_SECONDS)
        waited_for &= _writers(engine)


def _writers(engine: Engine) -> set[str]:
    with translated(), engine.connect() as connection:
        return set(connection.execute(_WRITERS, {"slots": SLOT_LOCKS}).scalars())
