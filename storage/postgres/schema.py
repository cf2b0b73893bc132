"""Brings PostgreSQL and ClickHouse to today's schema. Idempotent, safe to run twice at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.errors import Refused
from storage.postgres.driver import translated, wait_for
from storage.postgres.partitions import Partitions

MIGRATE = "run `threadkeep migrate`"
NEWER = "a newer version of Threadkeep was here: run that one, or restore what was before it"

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('threadkeep:migrate'))")
_NO_DEADLINE = text("SELECT set_config('statement_timeout', '0', true)")
MIGRATION_SECONDS = 86_400.0
"""One statement of a migration."""

_CLICKHOUSE_LOG = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())"
    " ENGINE = ReplacingMergeTree ORDER BY name"
)


class Standing(NamedTuple):
    """How a database's schema stands to this code: steps not taken, steps it does not know."""

    missing: list[str]
    unknown: list[str]
    is_new: bool = False
    """Whether nothing of ours was ever there."""

    @property
    def is_ours(self) -> bool:
        """Whether it is exactly what this code was written for."""
        return not self.missing and not self.unknown

    @property
    def found(self) -> str:
        """What stands there, for a person."""
        if self.unknown:
            return f"newer than this code: {', '.join(self.unknown)}"
        return f"missing: {', '.join(self.missing)}" if self.missing else "up to date"

    @property
    def advice(self) -> str:
        """What to do where it is not ours."""
        return NEWER if self.unknown else MIGRATE


def migrate(engine: Engine, server: ClickHouse, weeks_ahead: int) -> list[str]:
    """Applies what is missing; gives the names of the steps taken.

    Raises `Refused` where a newer version has been, before anything is changed there.
    """
    done = migrate_postgres(engine)
    done += Partitions(engine).ensure_ahead(datetime.now(UTC), weeks_ahead)
    return done + migrate_clickhouse(server)


def migrate_postgres(engine: Engine) -> list[str]:
    """Alembic to its newest revision; gives the revisions passed."""
    with translated(), engine.begin() as connection:
        return [f"postgresql {step}" for step in upgrade_postgres(connection).missing]


def upgrade_postgres(connection: Connection) -> Standing:
    """Likewise in the caller's transaction; gives where PostgreSQL stood before."""
    config = _alembic()
    wait_for(connection, _LOCK)
    standing = postgres_standing(connection)
    _refuse_newer("postgresql", standing)
    config.attributes["connection"] = connection
    with _unhurried(connection):
        command.upgrade(config, "head")
    return standing


@contextmanager
def _unhurried(connection: Connection) -> Iterator[None]:
    """Without the deadlines of jobs: an index over all that there is takes as long as it takes."""
    driver: Any = connection.connection.dbapi_connection
    connection.execute(_NO_DEADLINE)
    driver.deadline_seconds = MIGRATION_SECONDS
    try:
        yield
    finally:
        del driver.deadline_seconds


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


def postgres_standing(connection: Connection) -> Standing:
    """Where PostgreSQL stands. One round trip or two."""
    # From the newest back, as far as what is there.
    steps = list(ScriptDirectory.from_config(_alembic()).walk_revisions())
    newest_first = [step.revision for step in steps]
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        return Standing(newest_first[::-1], [], True)
    if current not in newest_first:
        return Standing([], [current])
    return Standing(newest_first[: newest_first.index(current)][::-1], [])


def clickhouse_standing(connection: Connection) -> Standing:
    """Where ClickHouse stands. Two round trips."""
    exists = connection.exec_driver_sql("EXISTS TABLE schema_migrations").scalar_one()
    taken: set[str] = set()
    if exists:
        rows = connection.exec_driver_sql("SELECT name FROM schema_migrations").all()
        taken = {row[0] for row in rows}
    ours = clickhouse_steps()
    return Standing([step for step in ours if step not in taken], sorted(taken - set(ours)))


def pending_steps(engine: Engine, server: ClickHouse) -> list[str]:
    """What `migrate` would still have to do."""
    with translated(), engine.connect() as connection:
        missing = [f"postgresql {step}" for step in postgres_standing(connection).missing]
    with clickhouse_translated(), server.engine.connect() as click:
        return missing + [f"clickhouse {step}" for step in clickhouse_standing(click).missing]


def _refuse_newer(tier: str, standing: Standing) -> None:
    if standing.unknown:
        raise Refused(f"{tier}: schema: {standing.found} - {standing.advice}")


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations").joinpath("postgres")))
    return config
