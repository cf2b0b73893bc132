"""What ClickHouse took while PostgreSQL could not: whether anything of it still waits."""

from storage.clickhouse.driver import ClickHouse

_COUNT = "SELECT count() FROM direct_writes"
_BESIDE = f"""
SELECT ({_COUNT}) > 0 OR (
    SELECT count() FROM direct_writers WHERE said_at > now64(3) - toIntervalSecond(seconds)) > 0
"""  # noqa: S608


def has_direct_writers(server: ClickHouse) -> bool:
    """Whether ClickHouse has, or is being given, what PostgreSQL lacks. Raises `TierError`."""
    return bool(server.number(_BESIDE))


def count_direct_writes(server: ClickHouse) -> int:
    """How many direct writes are not in PostgreSQL yet. Raises `TierError`."""
    return server.number(_COUNT)
