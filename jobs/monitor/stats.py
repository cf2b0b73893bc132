"""Figures of the whole store: how much is where, how much waits, how much room it takes."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import text

from storage.clickhouse.driver import translated as clickhouse_translated
from storage.errors import TierError
from storage.postgres.driver import translated as postgres_translated
from storage.redis.driver import translated as redis_translated
from storage.tiers import Tiers

SCAN_KEYS = 1_000
"""Keys that one look at Redis passes over: about a millisecond in which it does nothing else."""

_POSTGRES = text(
    """
SELECT (SELECT count(*) FROM messages WHERE deleted_at IS NULL) AS messages,
       (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL) AS tombstones,
       (SELECT count(*) FROM threads WHERE deleted_at IS NULL) AS threads,
       (SELECT count(*) FROM clickhouse_outbox) AS outbox,
       (SELECT count(*) FROM dead_letters) AS dead_letters,
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


def gather(tiers: Tiers) -> Stats:
    """Asks every tier. Raises nothing for a tier that is down."""
    down: dict[str, str] = {}
    return Stats(
        redis=_asked(lambda: _redis(tiers), down),
        postgresql=_asked(lambda: _postgres(tiers), down),
        clickhouse=_asked(lambda: _clickhouse(tiers), down),
        down=down,
    )


def _asked(ask: Callable[[], Any], down: dict[str, str]) -> Any:
    try:
        return ask()
    except TierError as error:
        down[error.tier] = error.reason
        return None


def _redis(tiers: Tiers) -> RedisFigures:
    client = tiers.redis_client
    # By Redis's own clock, which stamps the entries.
    age = tiers.pending_log.standing().oldest_seconds
    with redis_translated():
        info: Any = client.info()
        keys = client.scan_iter(match="message:active:*", count=SCAN_KEYS)
        # SCAN may give a key twice while the table of keys grows; a few do not matter here.
        hot = sum(1 for _ in keys)
    return RedisFigures(
        messages=hot,
        pending=sum(tiers.pending_log.backlog()),
        oldest_pending_seconds=round(age, 3),
        memory_bytes=int(info["used_memory"]),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
        bytes_on_disk=int(info.get("aof_current_size", 0)),
    )


def _postgres(tiers: Tiers) -> PostgresFigures:
    with postgres_translated(), tiers.job_engine.connect() as connection:
        row = connection.execute(_POSTGRES).one()
    return PostgresFigures(**row._mapping)


def _clickhouse(tiers: Tiers) -> ClickHouseFigures:
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
