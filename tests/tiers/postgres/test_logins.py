"""The three logins of programs: none becomes another, whatever statement somebody slips in."""

from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2.errors import InsufficientPrivilege, InvalidParameterValue
from sqlalchemy.engine import make_url

from wiring.process import Services

LOGINS = {
    "web": "DATABASE_WEB_URL",
    "worker": "DATABASE_URL",
    "owner": "DATABASE_MIGRATE_URL",
}
OTHERS = ("threadkeep", "threadkeep_worker_login", "threadkeep_web_login", "postgres")
MODEST = (
    "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication"
    " FROM pg_roles WHERE rolname LIKE 'threadkeep%'"
)
OWNS = (
    "SELECT count(*) FROM pg_class WHERE relowner = session_user::regrole"
    " AND relnamespace = 'public'::regnamespace"
)


@pytest.fixture
def links(
    alone: Services, lone_env: dict[str, str]
) -> Iterator[dict[str, psycopg2.extensions.connection]]:
    """A connection of each login, as bare as whoever steals its password has it."""
    made = {}
    for name, variable in LOGINS.items():
        url = make_url(lone_env[variable]).set(drivername="postgresql")
        made[name] = psycopg2.connect(url.render_as_string(hide_password=False))
        made[name].autocommit = True
    yield made
    for link in made.values():
        link.close()


def said(link: psycopg2.extensions.connection, statement: str) -> list[tuple[object, ...]]:
    with link.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def test_no_login_is_more_than_it_needs(
    links: dict[str, psycopg2.extensions.connection],
) -> None:
    for row in said(links["web"], MODEST):
        assert not any(row[1:]), row[0]
    assert [said(links[name], OWNS)[0][0] for name in ("web", "worker")] == [0, 0]
    assert said(links["owner"], OWNS)[0][0]


@pytest.mark.parametrize("name", ["web", "worker"])
@pytest.mark.parametrize("way", ["SET ROLE", "SET SESSION AUTHORIZATION", "SET LOCAL ROLE"])
def test_no_program_becomes_another(
    links: dict[str, psycopg2.extensions.connection], name: str, way: str
) -> None:
    link = links[name]
    (own,) = said(link, "SELECT session_user")[0]
    roles = {*OTHERS, "threadkeep_operator" if name == "worker" else "threadkeep_worker"} - {own}
    for role in sorted(roles):
        with pytest.raises((InsufficientPrivilege, InvalidParameterValue), match="denied"):
            said(link, f"{way} {role}")
    for back in ("RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION", "RESET ALL"):
        said(link, back)
        assert said(link, "SELECT session_user, current_user") == [(own, own)]
    for granted in ("threadkeep", "threadkeep_worker", "postgres", "pg_read_all_data"):
        with pytest.raises(InsufficientPrivilege):
            said(link, f"GRANT {granted} TO {own}")


@pytest.mark.parametrize("table", ["messages", "threads", "api_keys", "audit_trail", "notices"])
def test_a_bare_web_login_has_no_right_at_all(
    links: dict[str, psycopg2.extensions.connection], table: str
) -> None:
    link = links["web"]
    for before in ("SELECT 1", "SET ROLE threadkeep_web; RESET ROLE"):
        said(link, before)
        with pytest.raises(InsufficientPrivilege):
            said(link, f"SELECT 1 FROM {table}")
    with pytest.raises(InsufficientPrivilege):
        said(link, "SELECT make_messages_partition('2031-01-06')")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit_trail DISABLE TRIGGER append_only",
        "DROP TRIGGER append_only ON audit_trail",
        "SET session_replication_role = replica",
        "DELETE FROM audit_trail",
        "UPDATE audit_trail SET actor = 'x'",
        "TRUNCATE audit_trail",
        "DROP TABLE audit_trail",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE own (a int)",
    ],
)
@pytest.mark.parametrize("role", ["threadkeep_web", "threadkeep_operator", "worker"])
def test_no_program_rewrites_what_was_done(
    links: dict[str, psycopg2.extensions.connection], statement: str, role: str
) -> None:
    link = links["worker" if role == "worker" else "web"]
    if role != "worker":
        said(link, f"SET ROLE {role}")
    with pytest.raises(InsufficientPrivilege):
        said(link, statement)


def test_a_table_of_somebody_else_stands_in_for_none_of_ours(
    links: dict[str, psycopg2.extensions.connection],
) -> None:
    link = links["web"]
    said(link, "SET ROLE threadkeep_web; CREATE TEMP TABLE redis_backfill AS SELECT 1")
    lacks = said(links["worker"], "SELECT count(*) > 0 FROM redis_backfill")
    assert said(link, "SELECT redis_lacks_writes()") == lacks
