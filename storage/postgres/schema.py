"""Brings PostgreSQL to this program's schema. Idempotent, safe to run twice at once."""

from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from storage.postgres.driver import translated
from storage.postgres.locks import LONG_PATIENCE, lock
from storage.schema_version import SchemaVersion, refuse_newer

_NO_DEADLINE = text("SELECT set_config('statement_timeout', '0', true)")
MIGRATION_SECONDS = 86_400.0
"""One statement of a migration."""


def migrate_postgres(engine: Engine) -> list[str]:
    """Alembic to its newest revision; gives the revisions passed."""
    with translated(), engine.begin() as connection:
        return [f"postgresql {step}" for step in upgrade_postgres(connection).missing]


def upgrade_postgres(connection: Connection) -> SchemaVersion:
    """Likewise in the caller's transaction; gives where PostgreSQL stood before."""
    config = _alembic()
    lock(connection, "migrate", LONG_PATIENCE)
    before = postgres_standing(connection)
    refuse_newer("postgresql", before)
    config.attributes["connection"] = connection
    # Without the deadlines of jobs: an index over all that there is takes as long as it takes.
    driver: Any = connection.connection.dbapi_connection
    connection.execute(_NO_DEADLINE)
    driver.deadline_seconds = MIGRATION_SECONDS
    try:
        command.upgrade(config, "head")
    finally:
        del driver.deadline_seconds
    return before


def postgres_standing(connection: Connection) -> SchemaVersion:
    """Where PostgreSQL stands. One round trip or two."""
    # From the newest back, as far as what is there.
    steps = list(ScriptDirectory.from_config(_alembic()).walk_revisions())
    newest_first = [step.revision for step in steps]
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        return SchemaVersion(newest_first[::-1], [], True)
    if current not in newest_first:
        return SchemaVersion([], [current])
    return SchemaVersion(newest_first[: newest_first.index(current)][::-1], [])


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations").joinpath("postgres")))
    return config
