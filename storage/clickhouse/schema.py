"""The schema of ClickHouse: numbered steps."""

from importlib.resources import files

from sqlalchemy import Connection

from storage.clickhouse.driver import ClickHouse, translated
from storage.schema_version import SchemaVersion, refuse_newer

_LOG = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())"
    " ENGINE = ReplacingMergeTree ORDER BY name"
)


def migrate_clickhouse(server: ClickHouse) -> list[str]:
    """The numbered steps of `migrations/clickhouse` not applied yet; gives their names."""
    applied = []
    with translated(), server.engine.begin() as connection:
        connection.exec_driver_sql(_LOG)
        version = clickhouse_standing(connection)
        refuse_newer("clickhouse", version)
        for step in version.missing:
            source = files("migrations").joinpath(f"clickhouse/{step}.sql")
            for statement in source.read_text(encoding="utf-8").split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"INSERT INTO schema_migrations (name) SELECT '{step}'")
            applied.append(f"clickhouse {step}")
    return applied


def clickhouse_standing(connection: Connection) -> SchemaVersion:
    """Where ClickHouse stands. Two round trips."""
    taken: set[str] = set()
    if connection.exec_driver_sql("EXISTS TABLE schema_migrations").scalar_one():
        rows = connection.exec_driver_sql("SELECT name FROM schema_migrations").all()
        taken = {row[0] for row in rows}
    steps = files("migrations").joinpath("clickhouse").iterdir()
    ours = sorted(step.name.removesuffix(".sql") for step in steps if step.name.endswith(".sql"))
    return SchemaVersion([step for step in ours if step not in taken], sorted(taken - set(ours)))
