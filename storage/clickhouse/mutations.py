"""Mutations of ClickHouse: rows that leave the parts they are in, for good."""

from typing import Any

from storage.clickhouse.driver import ClickHouse
from storage.errors import TierUnavailable

_AT_WORK = (
    "SELECT count() FROM system.mutations"
    " WHERE database = currentDatabase() AND table = '{table}' AND NOT is_done"
)


def ask(server: ClickHouse, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query. Raises `TierError`."""
    return [tuple(row) for row in server.rows(query)]


def mutate(server: ClickHouse, table: str, command: str) -> None:
    """Runs `ALTER TABLE … command` to its end. Raises `TierError`.

    One at a time for each table: raises `TierUnavailable`, passing, while another is at work, as
    one goes on that its caller did not wait for.
    """
    if int(ask(server, _AT_WORK.format(table=table))[0][0]):
        raise TierUnavailable("clickhouse", f"a mutation of {table} is at work", passing=True)
    server.execute(f"ALTER TABLE {table} {command} SETTINGS mutations_sync = 2")
