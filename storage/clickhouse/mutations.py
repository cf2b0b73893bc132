"""Mutations of ClickHouse: rows that leave the parts they are in, for good."""

from storage.clickhouse.driver import ClickHouse
from storage.errors import TierUnavailable

_AT_WORK = (
    "SELECT count() FROM system.mutations"
    " WHERE database = currentDatabase() AND table = '{table}' AND NOT is_done"
)


def mutate(server: ClickHouse, table: str, command: str) -> None:
    """Runs `ALTER TABLE … command` to its end. Raises `TierError`.

    One at a time for each table: raises `TierUnavailable`, passing, while another is at work, as
    one goes on that its caller did not wait for.
    """
    if server.number(_AT_WORK.format(table=table)):
        raise TierUnavailable("clickhouse", f"a mutation of {table} is at work", passing=True)
    server.execute(f"ALTER TABLE {table} {command} SETTINGS mutations_sync = 2")
