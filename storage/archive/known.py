"""What ClickHouse alone may know already, for those who bring messages of the past.

A message that is archived has no row in PostgreSQL. Written there again it would count twice in its
thread, and where it has been deleted since, it would come back.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from models.message import Message
from storage.breakers import Breaker
from storage.clickhouse_driver import ClickHouse
from storage.fingerprints import MOST_NAMED, clickhouse_rows_of

_BOUNDARY = text("SELECT below::text FROM archive_boundary")


def boundary(connection: Connection) -> str:
    """The id below which messages may be in ClickHouse alone."""
    return str(connection.execute(_BOUNDARY).scalar_one())


class ArchivedVersions:
    """Asks ClickHouse for the versions that it has."""

    def __init__(self, server: ClickHouse, breaker: Breaker) -> None:
        self._server = server
        self._breaker = breaker

    def known(self, batch: Sequence[Message], below: str) -> set[str]:
        """The ids below a boundary that are there as new or newer. Raises `TierError`."""
        versions = {one.id: one.version for one in batch if one.id < below}
        names = sorted(versions)
        known: set[str] = set()
        for start in range(0, len(names), MOST_NAMED):
            with self._breaker.guard(is_bulk=True):
                rows = clickhouse_rows_of(self._server, names[start : start + MOST_NAMED])
            known |= {name for name, mark in rows.items() if mark.version >= versions[name]}
        return known
