"""The weekly partitions of `messages`, by id: a week's bounds are ids of its first moments."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models import ids
from storage.postgres.driver import execute, transact
from storage.postgres.locks import LONG_PATIENCE, lock

WEEK = timedelta(days=7)
_MAKE = "SELECT make_messages_partition(:monday)"
_EXISTS = "SELECT to_regclass(:name) IS NOT NULL"
_CHECK_VIOLATION = "23514"


def monday_of(moment: datetime) -> datetime:
    """The Monday, 00:00 UTC, of the week of an aware moment."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def bound(monday: datetime) -> str:
    """The lowest uuid whose time is at or after a moment; ids know none before 1970."""
    return id_at(max(0, ids.time_us(monday)) // 1000)


def id_at(moment_ms: int) -> str:
    """The lowest uuid of a millisecond since 1970."""
    return f"{ids.mint(moment_ms * 1000, 0, 0)[:13]}-0000-0000-000000000000"


def name(monday: datetime) -> str:
    """The partition's table."""
    return f"messages_{monday:%Y_%m_%d}"


class Partitions:
    """Makes partitions, ahead and on demand; remembers per process which exist."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[datetime] = set()

    def ensure_for(self, message_ids: Iterable[str]) -> None:
        """Makes the partitions that these ids need. Raises `TierUnavailable`."""
        # An id that claims to come from far ahead goes to the default partition.
        latest = datetime.now(UTC) + WEEK * 52
        times = {ids.time_us_of(message_id) // 1_000_000 for message_id in message_ids}
        mondays = {
            monday_of(datetime.fromtimestamp(seconds, UTC))
            for seconds in times
            if seconds < latest.timestamp()
        }
        for monday in sorted(mondays - self._known):
            self._ensure(monday)

    def ensure_ahead(self, now: datetime, weeks: int) -> list[str]:
        """Makes this week's partition and the next ones; gives the names that are new."""
        mondays = [monday_of(now) + WEEK * ahead for ahead in range(weeks + 1)]
        return [name(monday) for monday in mondays if self._ensure(monday)]

    def _ensure(self, monday: datetime) -> bool:
        made = transact(self._engine, make, monday)
        self._known.add(monday)
        return made


def make(connection: Connection, monday: datetime) -> bool:
    """Makes a week's partition in the caller's transaction; gives whether there was none."""
    lock(connection, "partitions", LONG_PATIENCE)
    if execute(connection, _EXISTS, name=name(monday)).scalar_one():
        return False
    try:
        with connection.begin_nested():
            execute(connection, _MAKE, monday=monday.date())
    except DBAPIError as error:
        # The default partition already holds rows of this week; there they stay.
        if getattr(error.orig, "pgcode", None) != _CHECK_VIOLATION:
            raise
        return False
    return True
