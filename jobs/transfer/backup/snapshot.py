"""One moment of all tiers: PostgreSQL as one snapshot, with what the archive alone has."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection

from jobs.transfer.export import DECLARE_MESSAGES, fetch, newest
from models import ids
from models.message import Message
from storage.clickhouse import thread_links
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.pages import Selection, archived_messages
from storage.postgres.driver import execute, message_of

PASSING = (
    "alembic_version",
    "archive_boundary",
    "audit_chain",
    "audit_head",
    "audit_outbox",
    "chain_state",
    "clickhouse_outbox",
    "credential_changes",
    "notices",
    "recovery_runs",
    "redis_backfill",
    "redis_detours",
    "redis_state",
    "row_copies_outbox",
)
"""Tables about what is on its way between the tiers, of no use at another moment."""

_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT relispartition
  AND relname !~ '^messages_' AND relname <> ALL(:passing) ORDER BY relname
"""
_FACTS = (
    "SELECT below::text AS boundary, installation::text AS installation"
    " FROM archive_boundary, redis_state"
)


class BackupSnapshot:
    """What there is at the moment of a snapshot's connection; each part is read once."""

    def __init__(self, connection: Connection, server: ClickHouse) -> None:
        self._connection = connection
        self._server = server
        facts = execute(connection, _FACTS).one()
        self.boundary: str = facts.boundary
        self.installation: str = facts.installation
        self.tables = small_tables(connection)
        execute(connection, DECLARE_MESSAGES, Selection()._asdict())
        for table in self.tables:
            connection.exec_driver_sql(
                f"DECLARE copied_{table} NO SCROLL CURSOR WITH HOLD FOR"  # noqa: S608
                f" SELECT row_to_json(r)::text AS row FROM {table} AS r"
            )
        connection.commit()

    def rows(self, table: str) -> Iterator[bytes]:
        """A small table's rows as JSON."""
        return (row.row.encode() for row in fetch(self._connection, f"copied_{table}"))

    def messages(self) -> Iterator[Message]:
        """Every message, newest versions, tombstones included. Raises `TierError`."""
        committed = map(message_of, fetch(self._connection, "exported_messages"))
        if self.boundary == ids.LOWEST:
            return committed
        archived = archived_messages(
            self._server, Selection(), below=self.boundary, tombstones=True
        )
        return newest(committed, archived)

    def links(self) -> Iterator[bytes]:
        """The links of all chains as ClickHouse takes them, by thread. Raises `TierError`."""
        return map(msgspec.json.encode, thread_links.links(self._server, Selection()))


def small_tables(connection: Connection) -> list[str]:
    """The tables that a backup has beside the messages."""
    return list(execute(connection, _TABLES, passing=list(PASSING)).scalars())
