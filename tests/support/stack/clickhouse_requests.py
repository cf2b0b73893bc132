"""Statements as ClickHouse takes them over HTTP, for what no verb of the tier says."""

from collections.abc import Mapping

from storage.clickhouse.driver import ClickHouse


def clickhouse_post(
    server: ClickHouse, statement: str, settings: Mapping[str, str] | None = None
) -> str:
    """One request; gives the answer's text. Only for `clickhouse+http`."""
    return server._send(statement, settings or {}, statement.encode()).decode()
