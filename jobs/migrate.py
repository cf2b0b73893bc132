"""Brings PostgreSQL and ClickHouse to today's schema. Idempotent, safe to run twice at once."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.schema import migrate_clickhouse
from storage.postgres.partitions import Partitions
from storage.postgres.schema import migrate_postgres


def migrate_all(engine: Engine, server: ClickHouse, weeks_ahead: int) -> list[str]:
    """Applies what is missing; gives the names of the steps taken. Raises `Refused` where a newer
    version has been, before anything is changed there."""
    done = migrate_postgres(engine)
    done += Partitions(engine).ensure_ahead(datetime.now(UTC), weeks_ahead)
    return done + migrate_clickhouse(server)
