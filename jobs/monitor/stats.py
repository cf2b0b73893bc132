"""Figures of the whole store: how much is where, how much waits, how much room it takes."""

from typing import Any

import msgspec

from jobs.monitor.snapshot import Snapshot
from storage.clickhouse.rows import NEWEST
from storage.errors import TierError
from storage.postgres.driver import rows_of
from storage.redis import keys
from storage.tiers import Tiers

_POSTGRES = """
SELECT (SELECT count(*) FROM messages WHERE deleted_at IS NULL) AS messages,
       (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL) AS tombstones,
       (SELECT count(*) FROM threads WHERE deleted_at IS NULL) AS threads,
       (SELECT count(*) FROM pg_partition_tree('messages') WHERE isleaf) AS partitions,
       pg_database_size(current_database()) AS bytes_on_disk
"""
_CLICKHOUSE_ROWS = f"SELECT count() FROM messages {NEWEST}"  # noqa: S608
_CLICKHOUSE_PARTS = (
    "SELECT count() AS parts, sum(rows) AS stored_rows, sum(bytes_on_disk) AS bytes_on_disk,"
    " sum(data_compressed_bytes) AS compressed, sum(data_uncompressed_bytes) AS uncompressed"
    " FROM system.parts WHERE active AND database = currentDatabase() AND table = 'messages'"
)


class RedisFigures(msgspec.Struct, frozen=True):
    """`messages` are the hot ones, `pending` those that are not yet in PostgreSQL."""

    messages: int
    pending: int
    oldest_pending_seconds: float
    memory_bytes: int
    memory_limit_bytes: int
    bytes_on_disk: int


class PostgresFigures(msgspec.Struct, frozen=True):
    """`outbox` counts what is not yet in ClickHouse."""

    messages: int
    tombstones: int
    threads: int
    outbox: int
    dead_letters: int
    partitions: int
    bytes_on_disk: int


class ClickHouseFigures(msgspec.Struct, frozen=True):
    """`stored_rows` counts every version that no merge has removed yet."""

    messages: int
    stored_rows: int
    parts: int
    bytes_on_disk: int
    compression: float


class Stats(msgspec.Struct, frozen=True):
    """Figures of each tier; None, and a reason in `down`, for one that does not answer."""

    redis: RedisFigures | None
    postgresql: PostgresFigures | None
    clickhouse: ClickHouseFigures | None
    down: dict[str, str]


def gather(tiers: Tiers, seen: Snapshot) -> Stats:
    """Counts what each tier holds, in addition to a snapshot. Raises nothing for a tier that is
    down."""
    asks = {"redis": _redis, "postgresql": _postgres, "clickhouse": _clickhouse}
    down: dict[str, str] = {
        tier: one.reason for tier, one in seen.tiers.items() if one.reason is not None
    }
    found: dict[str, Any] = dict.fromkeys(asks)
    for tier, ask in asks.items():
        try:
            found[tier] = None if tier in down else ask(tiers, seen)
        except TierError as error:
            down[error.tier] = error.reason
    return Stats(**found, down=down)


def _redis(tiers: Tiers, seen: Snapshot) -> RedisFigures:
    disk = tiers.redis_door.ask(lambda client: client.info("persistence"))
    return RedisFigures(
        # SCAN may give a key twice while the table of keys grows; a few do not matter here.
        messages=sum(len(names) for names in tiers.redis_door.scan(keys.EVERY_MESSAGE)),
        pending=seen.pending or 0,
        oldest_pending_seconds=round(seen.oldest_pending_seconds or 0.0, 3),
        memory_bytes=seen.memory_bytes or 0,
        memory_limit_bytes=seen.memory_limit_bytes or 0,
        bytes_on_disk=int(disk.get("aof_current_size", 0)),
    )


def _postgres(tiers: Tiers, seen: Snapshot) -> PostgresFigures:
    (row,) = rows_of(tiers.job_engine, _POSTGRES)
    return PostgresFigures(
        **row._mapping, outbox=seen.outbox or 0, dead_letters=seen.dead_letters or 0
    )


def _clickhouse(tiers: Tiers, _: Snapshot) -> ClickHouseFigures:
    server = tiers.job_clickhouse
    (row,) = server.rows(_CLICKHOUSE_PARTS)
    return ClickHouseFigures(
        messages=server.number(_CLICKHOUSE_ROWS),
        stored_rows=int(row.stored_rows),
        parts=int(row.parts),
        bytes_on_disk=int(row.bytes_on_disk),
        compression=round(int(row.uncompressed) / max(1, int(row.compressed)), 2),
    )
