"""States of a drained batch of the log: written at once, refused one by one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from models import codec
from models.state import StateName, StateRecord
from storage.postgres import states
from storage.postgres.driver import is_transient
from storage.redis import keys
from storage.redis.pending_log import LogEntry
from storage.redis.states import Lifetime


class _Item(NamedTuple):
    entry: LogEntry
    record: StateRecord


class StateBatch:
    """The states of one transaction, and what is to be settled of them after its commit."""

    def __init__(self, connection: Connection, refuse: Callable[[LogEntry, str], None]) -> None:
        self._connection = connection
        self._refuse = refuse
        self._items: list[_Item] = []
        self._stored: list[_Item] = []

    def add(self, entry: LogEntry) -> None:
        """Takes an entry in. Raises `codec.Corrupt`."""
        self._items.append(_Item(entry, codec.decode_state(entry.record)))

    def write(self) -> int:
        """Writes all that was taken in; gives how many states are newer than before."""
        return self._write(self._items) if self._items else 0

    def lifetimes(self, slot: int) -> dict[str, Lifetime]:
        """The newest of what was written in a slot, by its key in Redis."""
        found: dict[str, Lifetime] = {}
        for entry, record in self._stored:
            key = keys.state(slot, record.user_id, record.name)
            if entry.slot == slot and (key not in found or found[key].version < record.version):
                found[key] = Lifetime(record.version, record.expires_at)
        return found

    def _write(self, items: Sequence[_Item]) -> int:
        """All of them; where PostgreSQL refuses, each half for itself."""
        try:
            with self._connection.begin_nested():
                written = states.upsert(self._connection, [item.entry.record for item in items])
                if written < len({item.record.whose for item in items}):
                    self._tell_redis_of_newer(items)
            self._stored.extend(items)
        except (DBAPIError, ValueError) as error:
            if isinstance(error, DBAPIError) and is_transient(error):
                raise
            if len(items) == 1:
                reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
                self._refuse(items[0].entry, reason)
                return 0
            middle = len(items) // 2
            return self._write(items[:middle]) + self._write(items[middle:])
        return written

    def _tell_redis_of_newer(self, items: Sequence[_Item]) -> None:
        """What was written beside Redis, or has reached PostgreSQL before Redis lost its end."""
        logged: dict[StateName, int] = {}
        for _, record in items:
            logged[record.whose] = max(record.version, logged.get(record.whose, 0))
        found = states.find(self._connection, logged)
        newer = [one.whose for one in found if one.version > logged[one.whose]]
        if newer:
            states.queue_backfill(self._connection, newer)
