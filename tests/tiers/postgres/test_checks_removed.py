"""Row-level security holds with the route's own checks removed: the routes of a web process, of
whose statements each condition on a user is taken out on the way to PostgreSQL."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

import settings as configuration
from models.message import Message
from support.data.samples import message
from webapp.app import create_app
from webapp.cli.stack import databases
from webapp.http.auth import Tokens
from webapp.http.context import of
from wiring.process import Services

CONDITION = re.compile(r"(?:\w+\.)?user_id = %\(\w+\)s(?:::\w+)?")
ACTING = "set_config('role', 'threadkeep_web', true)"
SECRET = "unforgettable"

Ask = Callable[[FlaskClient, Message], Any]
READS: dict[str, Ask] = {
    "message": lambda web, one: web.get(f"/api/messages/{one.id}"),
    "receipt": lambda web, one: web.get(f"/api/messages/{one.id}/receipt"),
    "page": lambda web, one: web.get("/api/threads/t/messages"),
    "thread": lambda web, one: web.get("/api/threads/t"),
    "threads": lambda web, one: web.get("/api/threads"),
    "search": lambda web, one: web.get(f"/api/search?q={SECRET}"),
    "figures": lambda web, one: web.get("/api/analytics/summary"),
}
WRITES: dict[str, Ask] = {
    "edit": lambda web, one: web.patch(f"/api/messages/{one.id}", json={"message": "mine"}),
    "delete": lambda web, one: web.delete(f"/api/messages/{one.id}"),
    "rename": lambda web, one: web.patch("/api/threads/t", json={"title": "mine"}),
    "drop": lambda web, one: web.delete("/api/threads/t"),
}


@pytest.fixture
def theirs(alone: Services, user: str, write: Callable[..., int]) -> Message:
    """What somebody else has, in PostgreSQL alone."""
    made = message(f"{user}-other", content=f"{SECRET} {user}-other")
    write(made)
    # Nor is Redis believed, so that PostgreSQL is asked.
    alone.tiers.redis_client.flushall()
    return made


@contextmanager
def serving(env: dict[str, str], user: str, rewrite: Callable[[str], str]) -> Iterator[FlaskClient]:
    """A web process whose statements are rewritten, asked by a user."""
    given = configuration.load(env)
    app = create_app(given)
    tiers = of(app).services.tiers
    seen: list[str] = []

    def rewritten(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        seen.extend(CONDITION.findall(statement))
        return rewrite(statement), parameters

    for engine in (tiers.request_engine, tiers.quick_engine):
        event.listen(engine, "before_cursor_execute", rewritten, retval=True)
        if rewrite is without_wall:
            event.listen(engine, "checkout", act_as_who_logged_in)
    token = Tokens(given).issue(user, is_admin=False, ttl_seconds=60)
    with app.test_client() as client:
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        yield client
    tiers.give_back()
    assert seen, "no statement had a condition on a user"


def without_checks(statement: str) -> str:
    return CONDITION.sub("true", statement)


def without_wall(statement: str) -> str:
    return without_checks(statement).replace(ACTING, "set_config('role', 'none', true)")


def act_as_who_logged_in(link: Any, *_: Any) -> None:
    with link.cursor() as cursor:
        cursor.execute("RESET ROLE")


@pytest.mark.parametrize("name", READS)
def test_nothing_of_another_is_read(
    lone_env: dict[str, str], user: str, theirs: Message, name: str
) -> None:
    env = lone_env | databases.login_of(lone_env, "web")
    with serving(env, user, without_checks) as web:
        reply = READS[name](web, theirs)
    assert reply.status_code in {200, 404}, reply.text
    assert theirs.user_id not in reply.text
    assert theirs.id not in reply.text or name == "receipt"


@pytest.mark.parametrize("name", WRITES)
def test_nothing_of_another_is_changed(
    alone: Services, lone_env: dict[str, str], user: str, theirs: Message, name: str
) -> None:
    env = lone_env | databases.login_of(lone_env, "web")
    with serving(env, user, without_checks) as web:
        reply = WRITES[name](web, theirs)
    assert reply.status_code == 404, reply.text
    found = alone.tiers.postgres.message(theirs.user_id, theirs.id)
    assert found is not None
    assert found[0] == theirs


@pytest.mark.parametrize("name", ["search"])
def test_without_the_wall_it_would_be(
    lone_env: dict[str, str], user: str, theirs: Message, name: str
) -> None:
    """Else the tests above would pass whatever the wall does."""
    with serving(lone_env, user, without_wall) as web:
        reply = READS[name](web, theirs)
    assert "-other" in reply.text
