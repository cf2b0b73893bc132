"""Brings PostgreSQL and ClickHouse to today's schema. Idempotent, safe to run twice at once."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.clickhouse.schema import clickhouse_standing, migrate_clickhouse
from storage.postgres.driver import translated
from storage.postgres.partitions import Partitions
from storage.postgres.schema import migrate_postgres, postgres_standing


def migrate_all(engine: Engine, server: ClickHouse, weeks_ahead: int) -> list[str]:
    """Applies what is missing; gives the names of the steps taken.

    Raises `Refused` where a newer version has been, before anything is changed there.
    """
    done = migrate_postgres(engine)
    done += Partitions(engine).ensure_ahead(datetime.now(UTC), weeks_ahead)
    return done + migrate_clickhouse(server)


def pending_steps(engine: Engine, server: ClickHouse) -> list[str]:
    """What `migrate` would still have to do."""
    with translated(), engine.connect() as connection:
        missing = [f"postgresql {step}" for step in postgres_standing(connection).missing]
    with clickhouse_translated(), server.engine.connect() as click:
        return missing + [f"clickhouse {step}" for step in clickhouse_standing(click).missing]
