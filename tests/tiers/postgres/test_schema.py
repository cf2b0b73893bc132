"""The schema: migrating is repeatable, and what queries name is what is there."""

import threading
from importlib.resources import files

from alembic.script import ScriptDirectory
from sqlalchemy import text

from jobs.migrate import migrate_all
from models import clickhouse_tables, tables
from storage.clickhouse.schema import clickhouse_standing
from storage.postgres.schema import postgres_standing
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services


def test_migrating_again_does_nothing(alone: Services) -> None:
    weeks = alone.settings.partition_weeks_ahead
    migrate_all(alone.tiers.job_engine, alone.tiers.job_clickhouse, weeks)
    assert migrate_all(alone.tiers.job_engine, alone.tiers.job_clickhouse, weeks) == []
    with alone.tiers.job_engine.connect() as connection:
        assert postgres_standing(connection).missing == []
    with alone.tiers.job_clickhouse.engine.connect() as connection:
        assert clickhouse_standing(connection).missing == []


def test_a_new_database_lacks_the_steps_that_alembic_would_take(alone: Services) -> None:
    scripts = ScriptDirectory(str(files("migrations").joinpath("postgres")))
    steps = [script.revision for script in scripts.walk_revisions()]
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path TO pg_temp"))
        assert postgres_standing(connection) == (steps[::-1], [], True)


def test_the_tables_are_those_that_queries_name(alone: Services) -> None:
    own = (
        "table_name IN ('messages', 'threads', 'clickhouse_outbox', 'dead_letters',"
        " 'user_erasures')"
    )
    query = text(f"SELECT table_name, column_name FROM information_schema.columns WHERE {own}")
    with alone.tiers.job_engine.connect() as connection:
        found = {tuple(row) for row in connection.execute(query)}
    assert found == schema_columns()


def schema_columns() -> set[tuple[str, str]]:
    return {
        (table.name, column.name)
        for table in tables.metadata.sorted_tables
        for column in table.columns
        if table.name != "archive_boundary"
    }


def test_the_columns_of_clickhouse_are_those_that_queries_name(alone: Services) -> None:
    query = (
        "SELECT name FROM system.columns WHERE table = 'messages' AND database = currentDatabase()"
    )
    found = set(clickhouse_post(alone.tiers.job_clickhouse, query).split())
    assert found == {column.name for column in clickhouse_tables.messages.columns}


def test_two_may_migrate_at_once(alone: Services) -> None:
    problems: list[BaseException] = []

    def migrate() -> None:
        own = Services(alone.settings)
        try:
            migrate_all(own.tiers.job_engine, own.tiers.job_clickhouse, 30)
        except BaseException as error:
            problems.append(error)
        finally:
            own.tiers.job_engine.dispose()

    runners = [threading.Thread(target=migrate) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert problems == []
