"""The doctor's checks of ClickHouse."""

import re
from datetime import UTC, datetime

from sqlalchemy import Connection

from storage import schema
from storage.clickhouse_driver import ClickHouse, translated
from storage.finding import (
    ARCHIVED,
    Finding,
    ahead_seconds,
    clock,
    found,
    guarded,
    version_tuple,
)

CLICKHOUSE = "clickhouse"
OLDEST_VERSION = (23, 8)
_NOW = "SELECT toString(now64(6, 'UTC'))"
_SETTINGS = (
    "SELECT name, value FROM system.settings"
    " WHERE name IN ('async_insert', 'wait_for_async_insert')"
)
_TABLE = (
    "SELECT engine, engine_full FROM system.tables"
    " WHERE database = currentDatabase() AND name = 'messages'"
)


def check_clickhouse(server: ClickHouse) -> list[Finding]:
    """ClickHouse: where a message is for good. Its table only where there is one.

    It is also what a process must know before it relies on ClickHouse: half a dozen round trips.
    """

    def look() -> list[Finding]:
        with translated(), server.engine.connect() as connection:
            findings = [_version(connection), _clock(connection), _inserts(connection)]
            return [*findings, *_table(connection), _schema(connection)]

    return guarded(CLICKHOUSE, "reachable", look, "start it, or correct CLICKHOUSE_URL")


def _version(connection: Connection) -> Finding:
    version = str(connection.exec_driver_sql("SELECT version()").scalar_one())
    advice = f"use ClickHouse {'.'.join(map(str, OLDEST_VERSION))} or newer"
    is_new_enough = version_tuple(version) >= OLDEST_VERSION
    return found(CLICKHOUSE, "version", is_new_enough, f"ClickHouse {version}", advice)


def _clock(connection: Connection) -> Finding:
    before = datetime.now(UTC)
    moment = str(connection.exec_driver_sql(_NOW).scalar_one())
    after = datetime.now(UTC)
    there = datetime.fromisoformat(f"{moment}+00:00")
    return clock(CLICKHOUSE, ahead_seconds(there, before, after))


def _inserts(connection: Connection) -> Finding:
    values = {row[0]: str(row[1]) for row in connection.exec_driver_sql(_SETTINGS)}
    queued = values.get("async_insert") == "1"
    waits = values.get("wait_for_async_insert", "1") == "1"
    value = "off" if not queued else "on, waited for" if waits else "on, not waited for"
    advice = "set wait_for_async_insert to 1: other inserts are answered before they are written"
    is_waited_for = not queued or waits
    return found(CLICKHOUSE, "async_insert", is_waited_for, value, advice, "weaker", ARCHIVED)


def _table(connection: Connection) -> list[Finding]:
    row = connection.exec_driver_sql(_TABLE).one_or_none()
    if row is None:
        return []
    # A replicated table is deduplicated by its keeper and durable by its replicas.
    is_replicated = str(row[0]).startswith(("Replicated", "Shared"))
    fsync = _setting(row[1], "fsync_after_insert")
    window = _setting(row[1], "non_replicated_deduplication_window")
    alter = "ALTER TABLE messages MODIFY SETTING"
    return [
        found(
            CLICKHOUSE,
            "fsync_after_insert",
            fsync == "1" or is_replicated,
            fsync,
            f"{alter} fsync_after_insert = 1: rows leave PostgreSQL on this table's word",
            "weaker",
            ARCHIVED,
        ),
        found(
            CLICKHOUSE,
            "deduplication window",
            int(window) > 0 or is_replicated,
            row[0] if is_replicated else f"{window} inserts",
            f"{alter} non_replicated_deduplication_window = 1000: a repeated insert doubles work",
        ),
    ]


def _schema(connection: Connection) -> Finding:
    standing = schema.clickhouse_standing(connection)
    value, advice = standing.found, standing.advice
    return found(CLICKHOUSE, "schema", standing.is_ours, value, advice, "refuse")


def _setting(engine_full: str, name: str) -> str:
    written = re.search(rf"\b{name} = (\d+)", engine_full)
    return written.group(1) if written else "0"
