"""Figures of the whole store: how much is where, how much waits, how much room it takes."""

from typing import Any

import msgspec
from sqlalchemy import text

from jobs.monitor.snapshot import Snapshot
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.errors import TierError
from storage.postgres.driver import translated as postgres_translated
from storage.redis.driver import translated as redis_translated
from storage.tiers import Tiers

SCAN_KEYS = 1_000
"""Keys of one SCAN step: Redis does nothing else for about a millisecond."""

_POSTGRES = text(
    """
SELECT (SELECT count(*) FROM messages WHERE deleted_at IS NULL) AS messages,
       (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL) AS tombstones,
       (SELECT count(*) FROM threads WHERE deleted_at IS NULL) AS threads,
       (SELECT count(*) FROM pg_partition_tree('messages') WHERE isleaf) AS partitions,
       pg_database_size(current_database()) AS bytes_on_disk
"""
)
_CLICKHOUSE_ROWS = "SELECT count() FROM messages SETTINGS final = 1"
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
    client = tiers.redis_client
    with redis_translated():
        disk: Any = client.info("persistence")
        keys = client.scan_iter(match="message:active:*", count=SCAN_KEYS)
        # SCAN may give a key twice while the table of keys grows; a few do not matter here.
        hot = sum(1 for _ in keys)
    return RedisFigures(
        messages=hot,
        pending=seen.pending or 0,
        oldest_pending_seconds=round(seen.oldest_pending_seconds or 0.0, 3),
        memory_bytes=seen.memory_bytes or 0,
        memory_limit_bytes=seen.memory_limit_bytes or 0,
        bytes_on_disk=int(disk.get("aof_current_size", 0)),
    )


def _postgres(tiers: Tiers, seen: Snapshot) -> PostgresFigures:
    with postgres_translated(), tiers.job_engine.connect() as connection:
        row = connection.execute(_POSTGRES).one()
    return PostgresFigures(
        **row._mapping, outbox=seen.outbox or 0, dead_letters=seen.dead_letters or 0
    )


def _clickhouse(tiers: Tiers, _: Snapshot) -> ClickHouseFigures:
    with clickhouse_translated(), tiers.job_clickhouse.engine.connect() as connection:
        count = connection.exec_driver_sql(_CLICKHOUSE_ROWS).scalar_one()
        row = connection.exec_driver_sql(_CLICKHOUSE_PARTS).one()
    return ClickHouseFigures(
        messages=int(count),
        stored_rows=int(row.stored_rows),
        parts=int(row.parts),
        bytes_on_disk=int(row.bytes_on_disk),
        compression=round(int(row.uncompressed) / max(1, int(row.compressed)), 2),
    )
