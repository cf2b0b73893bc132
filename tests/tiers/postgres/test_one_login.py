"""An installation that has one login for everything goes on with it, and is told what it lacks."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from jobs.migrate import migrate_all
from storage.availability.checks.finding import LEAST_RIGHTS, Finding
from storage.availability.checks.postgres import check_postgres
from storage.messages.append_plan import Answer
from support.data.samples import append_of, message
from support.stack.databases import empty_database
from support.stack.superuser import superuser
from support.stack.tiers import tiers
from wiring.process import Services


def of_login(own: Services) -> Finding:
    found = check_postgres(own.tiers.job_engine, 1)
    return next(one for one in found if one.check == "login")


def posted(web: Services, user: str) -> Answer:
    """A message that a web process writes beside Redis, and what it was answered."""
    return web.failover.writes._postgres.append([append_of(message(user))])[0]


def works_as_before(web: Services, user: str) -> None:
    for name in (user, f"{user}-other"):
        posted(web, name)
    with web.tiers.request_engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == "threadkeep_web"
        assert connection.execute(text("SELECT 1 FROM messages")).all() == []
    with web.tiers.postgres.as_user(user) as connection:
        found = connection.execute(text("SELECT user_id FROM messages")).scalars().all()
    assert found == [user]
    assert web.tiers.postgres.watermark(user, "t") is None
    key = web.jobs.credentials.create_key("own", ["messages:read"], by="user:admin").key
    assert web.jobs.credentials.revoke_key(key.id, by="user:admin").revoked_at
    assert web.jobs.audit.entries(action="key.revoked", limit=1)[0].actor == "user:admin"


def test_the_owner_may_be_everybodys_login(
    alone: Services, lone_env: dict[str, str], user: str
) -> None:
    owner = lone_env["DATABASE_MIGRATE_URL"]
    env = lone_env | {"DATABASE_URL": owner, "DATABASE_WEB_URL": "", "DATABASE_MIGRATE_URL": ""}
    with tiers(env, serves_users=True) as web:
        works_as_before(web, user)
        finding = of_login(web)
    assert (finding.found, finding.severity) == ("owns the tables", "weaker")
    assert finding.promise == LEAST_RIGHTS
    assert "logins of their own" in finding.advice
    assert of_login(alone).ok


@contextmanager
def modest_owner(url: str) -> Iterator[str]:
    """The URL of a login that may make no role, and that no administrator gave the new ones."""
    name, word = f"plain_{secrets.token_hex(4)}", secrets.token_hex(8)
    with superuser(url) as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{word}'")
        cursor.execute(f"GRANT threadkeep_web TO {name}")
    try:
        given = make_url(url).set(username=name, password=word)
        yield given.render_as_string(hide_password=False)
    finally:
        with superuser(url) as cursor:
            cursor.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def plain(lone_env: dict[str, str]) -> Iterator[Services]:
    with (
        modest_owner(lone_env["DATABASE_URL"]) as url,
        empty_database(url) as own,
        tiers(
            lone_env | {"DATABASE_URL": own, "DATABASE_WEB_URL": "", "DATABASE_MIGRATE_URL": ""},
            serves_users=True,
        ) as web,
    ):
        migrate_all(web.tiers.migrate_engine, web.tiers.job_clickhouse, 1)
        yield web


def test_so_may_one_that_can_make_no_role(plain: Services, user: str) -> None:
    works_as_before(plain, user)
    with plain.tiers.operator_engine.connect() as connection:
        own = "SELECT current_user = session_user"
        assert connection.execute(text(own)).scalar_one()
    assert of_login(plain).severity == "weaker"
