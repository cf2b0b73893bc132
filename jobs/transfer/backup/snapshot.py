"""One moment of all tiers: PostgreSQL as one snapshot, with what the archive alone has.

The cursors are held: the server keeps what they saw, and nothing stays locked meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text

from jobs.transfer.export import DECLARE_MESSAGES, newest
from models import ids
from models.message import Message
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.pages import Selection, archived_messages
from storage.postgres.driver import message_of, translated

FETCH_ROWS = 5_000

PASSING = (
    "alembic_version",
    "archive_boundary",
    "audit_outbox",
    "clickhouse_outbox",
    "notices",
    "recovery_runs",
    "redis_backfill",
    "redis_detours",
    "redis_state",
    "row_copies_outbox",
)
"""Tables about the road between the tiers at this moment, of no use at another."""

_ISOLATION = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_TABLES = text(
    """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT relispartition
  AND relname !~ '^messages_' AND relname <> ALL(:passing) ORDER BY relname
"""
)
_FACTS = text(
    "SELECT below::text AS boundary, installation::text AS installation"
    " FROM archive_boundary, redis_state"
)


class BackupSnapshot:
    """What was there at one moment; each part is read once."""

    def __init__(self, connection: Connection, server: ClickHouse) -> None:
        self._connection = connection
        self._server = server
        connection.execute(_ISOLATION)
        facts = connection.execute(_FACTS).one()
        self.boundary: str = facts.boundary
        self.installation: str = facts.installation
        self.tables = small_tables(connection)
        connection.execute(text(DECLARE_MESSAGES), Selection()._asdict())
        for table in self.tables:
            connection.exec_driver_sql(
                f"DECLARE copied_{table} NO SCROLL CURSOR WITH HOLD FOR"  # noqa: S608
                f" SELECT row_to_json(r)::text AS row FROM {table} AS r"
            )
        connection.commit()

    def rows(self, table: str) -> Iterator[bytes]:
        """A small table's rows as JSON."""
        return (row.row.encode() for row in self._fetch(f"copied_{table}"))

    def messages(self) -> Iterator[Message]:
        """Every message, newest versions, tombstones included. Raises `TierError`."""
        committed = (message_of(row) for row in self._fetch("exported_messages"))
        if self.boundary == ids.LOWEST:
            return committed
        archived = archived_messages(
            self._server, Selection(), below=self.boundary, tombstones=True
        )
        return newest(committed, archived)

    def _fetch(self, cursor: str) -> Iterator[Any]:
        while True:
            rows = self._connection.exec_driver_sql(f"FETCH {FETCH_ROWS} FROM {cursor}").all()
            self._connection.commit()
            yield from rows
            if len(rows) < FETCH_ROWS:
                return


def small_tables(connection: Connection) -> list[str]:
    """The tables that a backup has beside the messages."""
    return list(connection.execute(_TABLES, {"passing": list(PASSING)}).scalars())


@contextmanager
def snapshot(engine: Engine, server: ClickHouse) -> Iterator[BackupSnapshot]:
    """Takes a snapshot, which lasts as long as the block. Raises `TierError`."""
    with translated(), engine.connect() as connection:
        try:
            yield BackupSnapshot(connection, server)
        finally:
            # Held cursors live as long as their connection.
            connection.invalidate()
