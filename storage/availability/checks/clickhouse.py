"""The doctor's checks of ClickHouse."""

import re
from datetime import UTC, datetime

from sqlalchemy import Connection

from storage.availability.checks.finding import (
    ARCHIVED,
    Finding,
    Rule,
    ahead_seconds,
    clock,
    findings,
    found,
    guarded,
    is_older,
)
from storage.clickhouse import schema
from storage.clickhouse.driver import ClickHouse, translated

CLICKHOUSE = "clickhouse"
OLDEST_VERSION = (26, 2)
MOST_PARTS = 300
"""Of one partition: ClickHouse slows inserts down at 1,000 and refuses them at 3,000."""
FREE_SHARE = 0.1
_UNREACHABLE = "start it, or correct CLICKHOUSE_URL"
_SERVER = "SELECT version() AS version, toString(now64(6, 'UTC')) AS moment"
_SETTINGS = (
    "SELECT name, value FROM system.settings"
    " WHERE name IN ('async_insert', 'wait_for_async_insert')"
)
_PARTS = (
    "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts"
    " WHERE active AND database = currentDatabase() GROUP BY table, partition)"
)
_MUTATIONS = (
    "SELECT count() AS stuck, any(latest_fail_reason) AS reason FROM system.mutations"
    " WHERE database = currentDatabase() AND NOT is_done"
    " AND create_time < now() - INTERVAL 10 MINUTE"
)
_DISKS = "SELECT name, free_space / total_space AS free FROM system.disks WHERE total_space > 0"
_TABLE = (
    "SELECT engine, engine_full FROM system.tables"
    " WHERE database = currentDatabase() AND name = 'messages'"
)
_ALTER = "ALTER TABLE messages MODIFY SETTING"
_DISK_FULL = "give it more disk: it can neither insert nor merge on a full one"
_RULES = {
    "version": Rule(f"use ClickHouse {'.'.join(map(str, OLDEST_VERSION))} or newer"),
    "async_insert": Rule(
        "set wait_for_async_insert to 1: other inserts are answered before they are written",
        "weaker",
        ARCHIVED,
    ),
    "fsync_after_insert": Rule(
        f"{_ALTER} fsync_after_insert = 1: rows leave PostgreSQL on this table's word",
        "weaker",
        ARCHIVED,
    ),
    "deduplication window": Rule(
        f"{_ALTER} non_replicated_deduplication_window = 1000: a repeated insert doubles work"
    ),
    "parts": Rule(
        "let it merge: fewer, larger inserts (THREADKEEP_SHIP_BATCH_MESSAGES), or more room"
    ),
    "stuck mutations": Rule("see system.mutations: what was deleted may still be on its disk"),
}


def judge_clickhouse(server: ClickHouse, *, with_upkeep: bool = False) -> list[Finding]:
    """What a process must know of ClickHouse before it relies on it. Half a dozen round trips."""

    def ask() -> list[Finding]:
        with translated(), server.engine.connect() as connection:
            judged = [*_server(connection), *_table(connection)]
            version = schema.clickhouse_standing(connection)
            is_ours, what, advice = version.is_ours, version.found, version.advice
            judged.append(found(CLICKHOUSE, "schema", is_ours, what, advice, "refuse"))
            return [*judged, *_upkeep(connection)] if with_upkeep else judged

    return guarded(CLICKHOUSE, "reachable", ask, _UNREACHABLE)


def check_clickhouse(server: ClickHouse) -> list[Finding]:
    """ClickHouse: where a message is for good. Its table only where there is one."""
    return judge_clickhouse(server, with_upkeep=True)


def _server(connection: Connection) -> list[Finding]:
    before = datetime.now(UTC)
    server = connection.exec_driver_sql(_SERVER).one()
    after = datetime.now(UTC)
    there = datetime.fromisoformat(f"{server.moment}+00:00")
    values = {row[0]: str(row[1]) for row in connection.exec_driver_sql(_SETTINGS)}
    queued = values.get("async_insert") == "1"
    waits = values.get("wait_for_async_insert", "1") == "1"
    inserts = "off" if not queued else "on, waited for" if waits else "on, not waited for"
    judged = {
        "version": (not is_older(server.version, OLDEST_VERSION), f"ClickHouse {server.version}"),
        "async_insert": (not queued or waits, inserts),
    }
    ahead = clock(CLICKHOUSE, ahead_seconds(there, before, after))
    return [*findings(CLICKHOUSE, _RULES, judged), ahead]


def _table(connection: Connection) -> list[Finding]:
    row = connection.exec_driver_sql(_TABLE).one_or_none()
    if row is None:
        return []
    # A replicated table is deduplicated by its keeper and durable by its replicas.
    is_replicated = str(row.engine).startswith(("Replicated", "Shared"))
    fsync = _setting(row.engine_full, "fsync_after_insert")
    window = _setting(row.engine_full, "non_replicated_deduplication_window")
    kept = str(row.engine) if is_replicated else f"{window} inserts"
    judged = {
        "fsync_after_insert": (fsync == "1" or is_replicated, fsync),
        "deduplication window": (int(window) > 0 or is_replicated, kept),
    }
    return findings(CLICKHOUSE, _RULES, judged)


def _upkeep(connection: Connection) -> list[Finding]:
    parts = int(connection.exec_driver_sql(_PARTS).scalar_one() or 0)
    stuck, reason = connection.exec_driver_sql(_MUTATIONS).one()
    mutations = f"{int(stuck):,} not done after 10 min: {reason}" if int(stuck) else "0"
    judged = {
        "parts": (parts <= MOST_PARTS, f"at most {parts:,} of a partition"),
        "stuck mutations": (int(stuck) == 0, mutations),
    }
    disks = connection.exec_driver_sql(_DISKS).all()
    return findings(CLICKHOUSE, _RULES, judged) + [
        found(CLICKHOUSE, f"disk {name}", free >= FREE_SHARE, f"{free:.0%} free", _DISK_FULL)
        for name, free in disks
    ]


def _setting(engine_full: str, name: str) -> str:
    written = re.search(rf"\b{name} = (\d+)", engine_full)
    return written.group(1) if written else "0"
