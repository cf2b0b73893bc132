"""No user sees or changes another user's data: every route, with another user's ids.

A route without a case here fails the test: a new route needs one that states its answer to another
user.
"""

from collections.abc import Callable
from functools import cache

import jwt
import msgspec
import pytest
from flask import Flask
from werkzeug.routing import Map

import settings as configuration
from settings import Settings
from storage.identity.credentials import SCOPES
from support.calls.admin_calls import ADMIN_CALLS
from support.calls.api import Api, ok, problem
from support.calls.isolation import (
    CASES,
    NEVER,
    SECRET,
    THREAD,
    Case,
    Theirs,
    is_unharmed,
    made_by,
    not_found,
)
from support.calls.keys import ALL_BUT_ADMIN, made_key, on_behalf_of, with_key
from support.data.moving import wait_until
from support.data.users import fresh_user
from support.stack.environment import COMPLETE
from support.stack.processes import Launched
from support.waiting import eventually
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.requests import PUBLIC

OWN = configuration.load(COMPLETE)

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def rules(app: Flask) -> set[tuple[str, str]]:
    """Every method and endpoint that asks for a token."""
    return {
        (method, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & METHODS
        if rule.endpoint not in PUBLIC
    }


@pytest.fixture
def theirs(other_api: Api) -> Theirs:
    return made_by(other_api)


@pytest.fixture(scope="module")
def theirs_everywhere(stack: Launched, token: Callable[..., str]) -> Theirs:
    """The same data in every tier, so that each could leak it; no stranger changes it, so that all
    cases can share it."""
    theirs = made_by(Api(stack.url, token(fresh_user())))
    wait_until(theirs.api, "archived", theirs.messages)
    eventually(lambda: ok(theirs.api.get("/api/threads"))["threads"])
    return theirs


def test_every_route_has_its_case(settings: Settings) -> None:
    assert rules(create_app(settings)) == set(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=[" ".join(name) for name in CASES])
def test_a_stranger_finds_nothing_of_a_message_on_its_way(
    api: Api, theirs: Theirs, case: Case
) -> None:
    case(api, theirs)
    is_unharmed(theirs)


@pytest.mark.parametrize("case", CASES.values(), ids=[" ".join(name) for name in CASES])
def test_a_stranger_finds_nothing_in_any_tier(
    api: Api, theirs_everywhere: Theirs, case: Case
) -> None:
    case(api, theirs_everywhere)
    is_unharmed(theirs_everywhere)


@pytest.fixture(params=["a key", "an admin's key", "a key for a user", "an admin's key for a user"])
def keyed(request: pytest.FixtureRequest, admin_api: Api) -> tuple[Api, str]:
    """A stranger who calls with an API key, and what admins' calls tell them."""
    scopes = SCOPES if "admin" in request.param else ALL_BUT_ADMIN
    client = with_key(admin_api, *scopes)
    if request.param.endswith("for a user"):
        on_behalf_of(client, fresh_user())
        return client, "forbidden" if "admin" in request.param else "insufficient_scope"
    return client, "" if "admin" in request.param else "insufficient_scope"


@pytest.mark.parametrize("name", CASES, ids=[" ".join(name) for name in CASES])
def test_a_stranger_with_a_key_finds_nothing_either(
    keyed: tuple[Api, str], theirs_everywhere: Theirs, name: tuple[str, str]
) -> None:
    stranger, told = keyed
    if name[1].startswith("admin.") or name[1] == "analytics.get_analytics_series":
        if told:
            path, *body = ADMIN_CALLS.get(name, ("/api/analytics/series?scope=everyone",))
            code = told if name in ADMIN_CALLS else "forbidden"
            reply = stranger.call(name[0], path, json=body[0] if body else None)
            problem(reply, 403, code)
            assert SECRET not in reply.text
    elif not (told == "" and name[1] == "analytics.get_analytics_summary"):
        # An admin's key sees the figures of everyone, as an admin does.
        CASES[name](stranger, theirs_everywhere)
    is_unharmed(theirs_everywhere)


@pytest.mark.parametrize("name", CASES, ids=[" ".join(name) for name in CASES])
def test_whoever_has_no_credential_any_more_gets_nothing(
    gone: dict[str, Api], theirs_everywhere: Theirs, name: tuple[str, str]
) -> None:
    """Of the other user's own: a revoked token and key, and one of a secret that was changed."""
    for how, client in gone.items():
        reply = client.call(name[0], ADMIN_CALLS.get(name, (path_of(name[1]),))[0])
        problem(reply, 401, "invalid_token")
        assert SECRET not in reply.text, how
    is_unharmed(theirs_everywhere)


@pytest.fixture(scope="module")
def gone(
    stack: Launched,
    token: Callable[..., str],
    settings: Settings,
    theirs_everywhere: Theirs,
) -> dict[str, Api]:
    """Clients with credentials of the other user that were good once."""
    user_id, admin_api = theirs_everywhere.user_id, Api(stack.url, token("admin", admin=True))
    revoked = token(user_id)
    body = {"token_id": jwt.decode(revoked, options={"verify_signature": False})["jti"]}
    ok(admin_api.post("/api/admin/revocations", json=body), 201)
    keys = [
        made_key(admin_api, *ALL_BUT_ADMIN, user_id=user_id),
        made_key(admin_api, *ALL_BUT_ADMIN),
        made_key(admin_api, *ALL_BUT_ADMIN, user_id=user_id, expires_at="2020-01-01T00:00:00Z"),
    ]
    for key in keys[:2]:
        ok(admin_api.delete(f"/api/admin/keys/{key['id']}"))
    before = Tokens(
        msgspec.structs.replace(settings, jwt_secret="the secret that was taken before this one")
    )
    clients = {
        "a revoked token": Api(stack.url, revoked),
        "a revoked key": Api(stack.url, keys[0]["key"]),
        "a revoked key on behalf": on_behalf_of(Api(stack.url, keys[1]["key"]), user_id),
        "an expired key": Api(stack.url, keys[2]["key"]),
        "a changed secret": Api(stack.url, before.issue(user_id, is_admin=True, ttl_seconds=600)),
    }
    for client in clients.values():
        eventually(
            lambda client=client: {client.get("/api").status_code for _ in range(8)} == {401}, 5
        )
    return clients


@cache
def url_map() -> Map:
    return create_app(OWN).url_map


def path_of(endpoint: str) -> str:
    """The path of an endpoint, of the other user's data."""
    rule = next(url_map().iter_rules(endpoint))
    names = {"thread_id": THREAD, "run_id": THREAD, "version": "1", "message_id": NEVER}
    return "/".join(
        names.get(part.strip("<>").rpartition(":")[2], part) if part.startswith("<") else part
        for part in rule.rule.split("/")
    )


def test_a_stranger_with_a_thread_of_the_same_name_finds_nothing_either(
    api: Api, theirs: Theirs
) -> None:
    own = api.send(THREAD, "mine")
    for order in ("asc", "desc"):
        query = {"order": order, "cursor": theirs.message_id}
        reply = api.get(f"/api/threads/{THREAD}/messages", params=query)
        assert SECRET not in reply.text
        assert theirs.user_id not in reply.text
    assert api.delete(f"/api/threads/{THREAD}").status_code == 204
    assert api.get(f"/api/messages/{own['id']}").status_code == 404
    is_unharmed(theirs)


def test_an_admin_of_this_release_reads_nobody_elses_messages(
    theirs: Theirs, admin_api: Api
) -> None:
    not_found("GET", "/api/messages/{message_id}")(admin_api, theirs)
    is_unharmed(theirs)
