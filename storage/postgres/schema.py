"""Brings PostgreSQL to this program's schema. Idempotent, safe to run twice at once."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from sqlalchemy import Connection, Engine

from storage.errors import TierUnavailable
from storage.postgres.driver import execute, translated
from storage.postgres.locks import LONG_PATIENCE, lock
from storage.schema_version import SchemaVersion, refuse_newer

_WAS_MIGRATED = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"
_MAY_MAKE = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
NOT_THE_OWNER = (
    "only the owner of its tables may make or change them: name that login in DATABASE_MIGRATE_URL"
)
_NO_DEADLINE = "SELECT set_config('statement_timeout', '0', true)"
_GRANT = "SELECT grant_to_programs()"
MIGRATION_SECONDS = 86_400.0
"""One statement of a migration."""


def migrate_postgres(engine: Engine) -> list[str]:
    """Alembic to its newest revision; gives the revisions passed. What there is of roles gets its
    rights, those that were made since included."""
    with translated(), engine.begin() as connection:
        steps = [f"postgresql {step}" for step in upgrade_postgres(connection).missing]
        execute(connection, _GRANT)
        return steps


def upgrade_postgres(connection: Connection) -> SchemaVersion:
    """Likewise in the caller's transaction; gives where PostgreSQL stood before."""
    lock(connection, "migrate", LONG_PATIENCE)
    before = postgres_standing(connection)
    refuse_newer("postgresql", before)
    if not before.missing:
        return before
    if not execute(connection, _MAY_MAKE).scalar_one():
        raise TierUnavailable("postgresql", NOT_THE_OWNER)
    # Only who migrates loads alembic, which takes 15 MB and a third of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    # Without the deadlines of jobs: an index over all that there is takes as long as it takes.
    driver: Any = connection.connection.dbapi_connection
    execute(connection, _NO_DEADLINE)
    driver.deadline_seconds = MIGRATION_SECONDS
    try:
        command.upgrade(config, "head")
    finally:
        del driver.deadline_seconds
    return before


def postgres_standing(connection: Connection) -> SchemaVersion:
    """Where PostgreSQL stands. One round trip or two."""
    # From the newest back, as far as what is there.
    scripts = _migrations().joinpath("versions").iterdir()
    numbers = {script.name.partition("_")[0] for script in scripts}
    newest_first = sorted(filter(str.isdigit, numbers), reverse=True)
    was_migrated = execute(connection, _WAS_MIGRATED).scalar_one()
    current = execute(connection, _REVISION).scalar() if was_migrated else None
    if current is None:
        return SchemaVersion(newest_first[::-1], [], True)
    if current not in newest_first:
        return SchemaVersion([], [current])
    return SchemaVersion(newest_first[: newest_first.index(current)][::-1], [])


def _migrations() -> Traversable:
    return files("migrations").joinpath("postgres")
