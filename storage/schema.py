"""Brings PostgreSQL and ClickHouse to today's schema. Idempotent, safe to run twice at once."""

from datetime import UTC, datetime
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from storage.clickhouse_driver import ClickHouse
from storage.clickhouse_driver import translated as clickhouse_translated
from storage.partitions import Partitions
from storage.postgres_driver import translated

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:migrate'))")
_CLICKHOUSE_LOG = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())"
    " ENGINE = ReplacingMergeTree ORDER BY name"
)


def migrate(engine: Engine, server: ClickHouse, weeks_ahead: int) -> list[str]:
    """Applies what is missing; gives the names of the steps taken."""
    done = migrate_postgres(engine)
    done += Partitions(engine).ensure_ahead(datetime.now(UTC), weeks_ahead)
    return done + migrate_clickhouse(server)


def migrate_postgres(engine: Engine) -> list[str]:
    """Alembic to its newest revision; gives the revisions passed."""
    config = _alembic()
    with translated(), engine.begin() as connection:
        connection.execute(_LOCK)
        before = MigrationContext.configure(connection).get_current_revision()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    steps = ScriptDirectory.from_config(config).iterate_revisions("head", before)
    return [f"postgresql {step.revision}" for step in steps]


def migrate_clickhouse(server: ClickHouse) -> list[str]:
    """The numbered steps of `migrations/clickhouse` not applied yet; gives their names."""
    applied = []
    with clickhouse_translated(), server.engine.begin() as connection:
        connection.exec_driver_sql(_CLICKHOUSE_LOG)
        rows = connection.exec_driver_sql("SELECT name FROM schema_migrations FINAL").all()
        known = {row[0] for row in rows}
        for step in clickhouse_steps():
            if step in known:
                continue
            source = files("migrations").joinpath(f"clickhouse/{step}.sql")
            for statement in source.read_text(encoding="utf-8").split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"INSERT INTO schema_migrations (name) SELECT '{step}'")
            applied.append(f"clickhouse {step}")
    return applied


def clickhouse_steps() -> list[str]:
    """The names of all steps, in order."""
    folder = files("migrations").joinpath("clickhouse")
    return sorted(
        entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")
    )


def pending_steps(engine: Engine, server: ClickHouse) -> list[str]:
    """What `migrate` would still have to do."""
    config = _alembic()
    with translated(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    head = ScriptDirectory.from_config(config).get_current_head()
    missing = [] if current == head else [f"postgresql {head}"]
    with clickhouse_translated(), server.engine.connect() as click:
        exists = click.exec_driver_sql("EXISTS TABLE schema_migrations").scalar_one()
        rows = click.exec_driver_sql("SELECT name FROM schema_migrations").all() if exists else []
    known = {row[0] for row in rows}
    return missing + [f"clickhouse {step}" for step in clickhouse_steps() if step not in known]


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations").joinpath("postgres")))
    return config
