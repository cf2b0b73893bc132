"""One archiver at a time. A lock keeps a second one from starting; a fencing token, checked in
every transaction that changes something, stops one that lost its lock without noticing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from storage.availability.checks.finding import ahead_seconds
from storage.errors import Refused
from storage.postgres.driver import execute, translated
from storage.postgres.locks import session_lock

CLOCK_TOLERANCE_SECONDS = 60.0

# A frozen archiver keeps its connection, and with it the lock, as long as its machine lives.
_PATIENCE = "SELECT set_config('idle_session_timeout', '10min', false)"
_NEXT = "UPDATE archive_fence SET attempt = attempt + 1 RETURNING attempt"
# Shared, so that the next archiver's number waits for the end of this transaction.
_HOLDS = "SELECT attempt FROM archive_fence WHERE attempt = :attempt FOR SHARE"
_NOW = "SELECT clock_timestamp()"


class FencingToken:
    """One archiver's right to change anything."""

    def __init__(self, connection: Connection, attempt: int) -> None:
        self._connection = connection
        self.attempt = attempt

    def check(self, connection: Connection) -> None:
        """Holds the fence for the caller's transaction. Raises `Refused` where it is another's."""
        if execute(connection, _HOLDS, attempt=self.attempt).first() is None:
            raise Refused("another archiver has taken over; this one changes nothing any more")

    def touch(self) -> None:
        """Keeps the lock awake. Raises `TierUnavailable` where it went with its connection."""
        with translated():
            execute(self._connection, _NOW)


@contextmanager
def only_archiver(engine: Engine) -> Iterator[FencingToken]:
    """The block runs as the only archiver. Raises `Refused` where another one is at work, and where
    this machine's clock and PostgreSQL's, from which ages are taken, do not agree."""
    with session_lock(engine, "archive") as connection:
        if connection is None:
            raise Refused("another archiver is at work")
        with translated():
            execute(connection, _PATIENCE)
            _check_clock(connection)
            attempt = execute(connection, _NEXT).scalar_one()
        yield FencingToken(connection, attempt)


def _check_clock(connection: Connection) -> None:
    before = datetime.now(UTC)
    moment: datetime = execute(connection, _NOW).scalar_one()
    ahead = ahead_seconds(moment, before, datetime.now(UTC))
    if abs(ahead) > CLOCK_TOLERANCE_SECONDS:
        raise Refused(
            f"PostgreSQL's clock is {ahead:+.0f} s from this machine's, and ages are taken from it:"
            " let NTP set both, then archive"
        )
