"""The schema of ClickHouse: numbered steps."""

from importlib.resources import files

from sqlalchemy import Connection

from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.schema_version import SchemaVersion, _refuse_newer

_CLICKHOUSE_LOG = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())"
    " ENGINE = ReplacingMergeTree ORDER BY name"
)


def migrate_clickhouse(server: ClickHouse) -> list[str]:
    """The numbered steps of `migrations/clickhouse` not applied yet; gives their names."""
    applied = []
    with clickhouse_translated(), server.engine.begin() as connection:
        connection.exec_driver_sql(_CLICKHOUSE_LOG)
        standing = clickhouse_standing(connection)
        _refuse_newer("clickhouse", standing)
        for step in standing.missing:
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


def clickhouse_standing(connection: Connection) -> SchemaVersion:
    """Where ClickHouse stands. Two round trips."""
    exists = connection.exec_driver_sql("EXISTS TABLE schema_migrations").scalar_one()
    taken: set[str] = set()
    if exists:
        rows = connection.exec_driver_sql("SELECT name FROM schema_migrations").all()
        taken = {row[0] for row in rows}
    ours = clickhouse_steps()
    return SchemaVersion([step for step in ours if step not in taken], sorted(taken - set(ours)))
