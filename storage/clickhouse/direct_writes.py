"""What ClickHouse took while PostgreSQL could not: whether anything of it still waits."""

from sqlalchemy import func, select

from models.clickhouse_tables import direct_writes
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated

_BESIDE = """
SELECT (SELECT count() FROM direct_writes) > 0 OR (
    SELECT count() FROM direct_writers WHERE said_at > now64(3) - toIntervalSecond(seconds)) > 0
"""


def has_direct_writers(server: ClickHouse) -> bool:
    """Whether ClickHouse has, or is being given, what PostgreSQL lacks. Raises `TierError`."""
    with clickhouse_translated(), server.engine.connect() as connection:
        return bool(connection.exec_driver_sql(_BESIDE).scalar_one())


def count_direct_writes(server: ClickHouse) -> int:
    """How many direct writes are not home yet. Raises `TierError`."""
    query = select(func.count()).select_from(direct_writes)
    with clickhouse_translated(), server.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())
