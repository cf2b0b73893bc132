"""The schema: migrating is repeatable, and what queries name is what is there."""

import threading
import time
from importlib.resources import files

from alembic.script import ScriptDirectory
from sqlalchemy import text

from jobs.migrate import migrate_all
from models import clickhouse_tables, tables
from storage.clickhouse.schema import clickhouse_standing
from storage.postgres.schema import migrate_postgres, postgres_standing
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services


def test_migrating_again_does_nothing(alone: Services) -> None:
    weeks = alone.settings.partition_weeks_ahead
    migrate_all(alone.tiers.migrate_engine, alone.tiers.job_clickhouse, weeks)
    assert migrate_all(alone.tiers.migrate_engine, alone.tiers.job_clickhouse, weeks) == []
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


OF_WORDS = """
CREATE FUNCTION search_fold(content text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT content';
CREATE FUNCTION search_normal(content text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT content';
CREATE FUNCTION search_terms(user_id text, content text) RETURNS tsvector LANGUAGE sql IMMUTABLE
    AS $$ SELECT to_tsvector('simple', content) $$;
CREATE FUNCTION search_candidates(terms tsquery) RETURNS TABLE (id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT id FROM messages';
CREATE INDEX messages_by_words ON messages USING gin (search_terms(user_id, content));
UPDATE alembic_version SET version_num = '0014';
"""
LEFT_OF_WORDS = text(
    "SELECT relname FROM pg_class WHERE relkind IN ('i', 'I')"
    " AND pg_get_indexdef(oid) LIKE '%search_terms%'"
    " UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'search\\_%'"
)


def test_the_index_of_words_is_dropped_beside_readers(alone: Services) -> None:
    """It waits for those who read, and they do not wait for long behind it."""
    engine = alone.tiers.migrate_engine
    with engine.begin() as connection:
        connection.exec_driver_sql(OF_WORDS.replace("%", "%%"))
        assert len(connection.execute(LEFT_OF_WORDS).all()) > 6
    done: list[str] = []
    with engine.begin() as reader:
        reader.execute(text("SELECT count(*) FROM messages"))
        migration = threading.Thread(target=lambda: done.extend(migrate_postgres(engine)))
        migration.start()
        for _ in range(4):
            with engine.begin() as other:
                other.execute(text("SELECT count(*) FROM messages"))
            time.sleep(0.3)
        assert done == []
    migration.join(60)
    assert done == [f"postgresql {number:04}" for number in range(15, 20)]
    with engine.begin() as connection:
        assert connection.execute(LEFT_OF_WORDS).all() == []


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
            migrate_all(own.tiers.migrate_engine, own.tiers.job_clickhouse, 30)
        except BaseException as error:
            problems.append(error)
        finally:
            own.tiers.give_back()

    runners = [threading.Thread(target=migrate) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert problems == []
