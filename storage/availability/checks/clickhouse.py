"""The doctor's checks of ClickHouse."""

import re
from datetime import UTC, datetime

from sqlalchemy import Connection

from storage.availability.checks.finding import (
    ARCHIVED,
    Finding,
    ahead_seconds,
    clock,
    found,
    guarded,
    version_tuple,
)
from storage.clickhouse import schema
from storage.clickhouse.driver import ClickHouse, translated

CLICKHOUSE = "clickhouse"
OLDEST_VERSION = (26, 2)
_UNREACHABLE = "start it, or correct CLICKHOUSE_URL"
_NOW = "SELECT toString(now64(6, 'UTC'))"
_SETTINGS = (
    "SELECT name, value FROM system.settings"
    " WHERE name IN ('async_insert', 'wait_for_async_insert')"
)
MOST_PARTS = 300
"""Of one partition: ClickHouse slows inserts down at 1,000 and refuses them at 3,000."""
FREE_SHARE = 0.1
_PARTS = (
    "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts"
    " WHERE active AND database = currentDatabase() GROUP BY table, partition)"
)
_MUTATIONS = (
    "SELECT count() AS stuck, any(latest_fail_reason) AS reason FROM system.mutations"
    " WHERE database = currentDatabase() AND NOT is_done"
    " AND create_time < now() - INTERVAL 10 MINUTE"
)
_DISKS = "SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0"
_TABLE = (
    "SELECT engine, engine_full FROM system.tables"
    " WHERE database = currentDatabase() AND name = 'messages'"
)


def judge_clickhouse(server: ClickHouse) -> list[Finding]:
    """What a process must know of ClickHouse before it relies on it. Half a dozen round trips."""

    def look() -> list[Finding]:
        with translated(), server.engine.connect() as connection:
            findings = [_version(connection), _clock(connection), _inserts(connection)]
            return [*findings, *_table(connection), _schema(connection)]

    return guarded(CLICKHOUSE, "reachable", look, _UNREACHABLE)


def check_clickhouse(server: ClickHouse) -> list[Finding]:
    """ClickHouse: where a message is for good. Its table only where there is one."""
    findings = judge_clickhouse(server)
    if any(finding.severity == "down" for finding in findings):
        return findings

    def look() -> list[Finding]:
        with translated(), server.engine.connect() as connection:
            return [_parts(connection), _mutations(connection), *_disks(connection)]

    return [*findings, *guarded(CLICKHOUSE, "upkeep", look, _UNREACHABLE)]


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


def _parts(connection: Connection) -> Finding:
    parts = int(connection.exec_driver_sql(_PARTS).scalar_one() or 0)
    advice = "let it merge: fewer, larger inserts (THREADKEEP_SHIP_BATCH_MESSAGES), or more room"
    value = f"at most {parts:,} of a partition"
    return found(CLICKHOUSE, "parts", parts <= MOST_PARTS, value, advice)


def _mutations(connection: Connection) -> Finding:
    row = connection.exec_driver_sql(_MUTATIONS).one()
    stuck = int(row.stuck)
    value = f"{stuck:,} not done after 10 min: {row.reason}" if stuck else "0"
    advice = "see system.mutations: what was deleted may still be on its disk"
    return found(CLICKHOUSE, "stuck mutations", stuck == 0, value, advice)


def _disks(connection: Connection) -> list[Finding]:
    advice = "give it more disk: it can neither insert nor merge on a full one"
    return [
        found(
            CLICKHOUSE,
            f"disk {row.name}",
            int(row.free_space) >= FREE_SHARE * int(row.total_space),
            f"{int(row.free_space) / int(row.total_space):.0%} free",
            advice,
        )
        for row in connection.exec_driver_sql(_DISKS)
    ]


def _setting(engine_full: str, name: str) -> str:
    written = re.search(rf"\b{name} = (\d+)", engine_full)
    return written.group(1) if written else "0"
