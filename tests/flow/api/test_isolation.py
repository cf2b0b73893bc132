"""No user sees or changes another user's data: every route, with another user's ids.

A route without a case here fails the test: a new route needs one that states its answer to another
user.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jwt
import msgspec
import pytest
import requests
from flask import Flask
from werkzeug.routing import Map

import settings as configuration
from settings import Settings
from storage.identity.credentials import SCOPES
from support.calls.admin_calls import ADMIN_CALLS
from support.calls.api import Api, ok, problem
from support.calls.keys import ALL_BUT_ADMIN, made_key, on_behalf_of, with_key
from support.data.moving import wait_until
from support.data.users import fresh_user
from support.stack.environment import COMPLETE
from support.stack.processes import Launched
from support.waiting import eventually
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.requests import PUBLIC

SECRET = "what nobody else may read"
THREAD = "theirs"
NEVER = "01a1fc1b-eb65-7fec-82e6-2aae62aa8097"
OWN = configuration.load(COMPLETE)
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


class Theirs(NamedTuple):
    """What the other user has: a thread with a title, and two messages in it."""

    api: Api
    user_id: str
    messages: list[dict[str, Any]]

    @property
    def message_id(self) -> str:
        return str(self.messages[0]["id"])


Case = Callable[[Api, Theirs], None]


def not_found(method: str, path: str, **options: Any) -> Case:
    """The stranger gets the same answer as for an id that does not exist, word for word."""

    def case(stranger: Api, theirs: Theirs) -> None:
        def ask(message_id: str, thread_id: str) -> requests.Response:
            return stranger.call(
                method, path.format(message_id=message_id, thread_id=thread_id), **options
            )

        real = problem(ask(theirs.message_id, THREAD), 404, "not_found")
        none = problem(ask(NEVER, "no-such-thread"), 404, "not_found")
        assert {**real, "request_id": ""} == {**none, "request_id": ""}

    return case


def shows_nothing(method: str, path: str, status: int = 200, **options: Any) -> Case:
    """The stranger gets an answer of their own, with nothing of the other's in it."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, path.format(thread_id=THREAD), **options)
        assert reply.status_code == status, reply.text
        for secret in (SECRET, theirs.user_id, *(one["id"] for one in theirs.messages)):
            assert secret not in reply.text

    return case


def forbidden(method: str, path: str, body: Any = None) -> Case:
    """The stranger is no admin, and learns nothing else."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, path, json=body)
        problem(reply, 403, "forbidden")
        assert SECRET not in reply.text

    return case


def lists_no_thread(stranger: Api, theirs: Theirs) -> None:
    shows_nothing("GET", "/api/threads")(stranger, theirs)
    assert ok(stranger.get("/api/threads"))["threads"] == []


def posts_into_own_thread(stranger: Api, theirs: Theirs) -> None:
    headers = {"Idempotency-Key": "shared"}
    path = f"/api/threads/{THREAD}/messages"
    own = ok(stranger.post(path, json={"message": "mine"}, headers=headers))
    assert own["user_id"] != theirs.user_id
    assert own["id"] not in {one["id"] for one in theirs.messages}
    page = stranger.page(THREAD)
    assert [one["id"] for one in page["messages"]] == [own["id"]]
    assert own["id"] not in {one["id"] for one in theirs.api.page(THREAD)["messages"]}


def opens_a_stream_in_own_thread(stranger: Api, theirs: Theirs) -> None:
    path = f"/api/threads/{THREAD}/messages:stream"
    own = ok(stranger.post(path, headers={"Idempotency-Key": "shared"}), 201)
    assert own["user_id"] != theirs.user_id
    assert own["id"] not in {one["id"] for one in theirs.messages}
    assert [one["id"] for one in stranger.page(THREAD)["messages"]] == [own["id"]]


def posts_a_batch_into_own_threads(stranger: Api, theirs: Theirs) -> None:
    item = {"thread_id": THREAD, "message": "mine", "idempotency_key": "shared"}
    reply = ok(stranger.post("/api/messages:batch", json={"messages": [item]}))
    assert reply["results"][0]["message"]["user_id"] != theirs.user_id
    assert len(theirs.api.page(THREAD)["messages"]) == len(theirs.messages)


def creates_own_thread(stranger: Api, theirs: Theirs) -> None:
    made = ok(stranger.post("/api/threads", json={"id": THREAD, "title": "mine"}), 201)
    assert made["user_id"] != theirs.user_id
    assert ok(theirs.api.get(f"/api/threads/{THREAD}"))["title"] == SECRET


def has_own_session(method: str) -> Case:
    """The stranger's session is not the other's."""

    def case(stranger: Api, theirs: Theirs) -> None:
        reply = stranger.call(method, "/api/session", json={"state": {"mine": 1}})
        assert reply.status_code in {200, 204, 404}, reply.text
        assert SECRET not in reply.text
        assert ok(theirs.api.get("/api/session"))["state"] == {"note": SECRET}

    return case


def counts_nothing(stranger: Api, theirs: Theirs) -> None:
    counted = ok(stranger.get("/api/analytics/summary"))
    assert (counted["messages"], counted["threads"], counted["bytes"]) == (0, 0, 0)
    assert "everyone" not in counted


def saves_own_run(stranger: Api, theirs: Theirs) -> None:
    path = f"/api/runs/{THREAD}/state"
    own = ok(stranger.call("PUT", path, json={"state": {"mine": 1}, "version": 0}))
    assert own["version"] == 1
    assert ok(theirs.api.get(path))["state"] == {"note": SECRET}


CASES: dict[tuple[str, str], Case] = {
    ("GET", "threads.list_threads"): lists_no_thread,
    ("POST", "threads.create_thread"): creates_own_thread,
    ("GET", "threads.get_thread"): not_found("GET", "/api/threads/{thread_id}"),
    ("PATCH", "threads.change_thread"): not_found(
        "PATCH", "/api/threads/{thread_id}", json={"title": "mine"}
    ),
    ("DELETE", "threads.delete_thread"): not_found("DELETE", "/api/threads/{thread_id}"),
    ("GET", "messages.list_messages"): not_found("GET", "/api/threads/{thread_id}/messages"),
    ("POST", "messages.post_message"): posts_into_own_thread,
    ("POST", "streaming.open_stream"): opens_a_stream_in_own_thread,
    ("POST", "streaming.append_chunk"): not_found(
        "POST", "/api/messages/{message_id}/chunks", json={"text": "mine"}
    ),
    ("POST", "streaming.finish_stream"): not_found(
        "POST", "/api/messages/{message_id}/finish", json={"message": "mine"}
    ),
    ("POST", "batch.post_batch"): posts_a_batch_into_own_threads,
    ("GET", "messages.get_message"): not_found("GET", "/api/messages/{message_id}"),
    ("GET", "messages.get_receipt"): not_found("GET", "/api/messages/{message_id}/receipt"),
    ("PATCH", "messages.edit_message"): not_found(
        "PATCH", "/api/messages/{message_id}", json={"message": "mine"}
    ),
    ("DELETE", "messages.delete_message"): not_found("DELETE", "/api/messages/{message_id}"),
    ("GET", "search.search_messages"): shows_nothing("GET", "/api/search?q=nobody+else"),
    ("GET", "analytics.get_analytics_summary"): counts_nothing,
    ("GET", "analytics.get_analytics_series"): forbidden(
        "GET", "/api/analytics/series?scope=everyone"
    ),
    ("GET", "session.get_session"): has_own_session("GET"),
    ("PUT", "session.put_session"): has_own_session("PUT"),
    ("PATCH", "session.patch_session"): has_own_session("PATCH"),
    ("DELETE", "session.delete_session"): has_own_session("DELETE"),
    ("GET", "runs.get_run_state"): not_found("GET", "/api/runs/{thread_id}/state"),
    ("PUT", "runs.put_run_state"): saves_own_run,
    ("DELETE", "runs.delete_run_state"): not_found("DELETE", "/api/runs/{thread_id}/state"),
    ("GET", "runs.list_checkpoints"): not_found("GET", "/api/runs/{thread_id}/checkpoints"),
    ("GET", "runs.get_checkpoint"): not_found("GET", "/api/runs/{thread_id}/checkpoints/1"),
    ("POST", "runs.restore_checkpoint"): not_found(
        "POST", "/api/runs/{thread_id}/checkpoints/1/restore"
    ),
    **{name: forbidden(name[0], *call) for name, call in ADMIN_CALLS.items()},
    ("POST", "tickets.create_ticket"): shows_nothing("POST", "/api/tickets", 201),
    ("GET", "events.open_socket"): shows_nothing("GET", "/api/ws", 307),
    ("GET", "events.open_event_stream"): shows_nothing("GET", "/api/events", 307),
    ("GET", "console.get_console_facts"): shows_nothing("GET", "/api/console"),
    ("GET", "health.get_service_info"): shows_nothing("GET", "/api"),
    ("GET", "health.get_persistence_health"): shows_nothing("GET", "/health/persistence"),
}


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


def made_by(other_api: Api) -> Theirs:
    body = {"id": THREAD, "title": SECRET, "metadata": {"note": SECRET}}
    ok(other_api.post("/api/threads", json=body), 201)
    path = f"/api/threads/{THREAD}/messages"
    made = [
        ok(other_api.post(path, json={"message": SECRET, "metadata": {"note": SECRET}})),
        ok(other_api.post(path, json={"message": SECRET}, headers={"Idempotency-Key": "shared"})),
    ]
    state = {"state": {"note": SECRET}}
    ok(other_api.call("PUT", "/api/session", json=state))
    run = f"/api/runs/{THREAD}/state"
    ok(other_api.call("PUT", run, json={**state, "checkpoint": "critical"}))
    return Theirs(other_api, made[0]["user_id"], made)


def test_every_route_has_its_case(settings: Settings) -> None:
    assert rules(create_app(settings)) == set(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=[" ".join(name) for name in CASES])
def test_a_stranger_finds_nothing_of_a_message_on_its_way(
    api: Api, theirs: Theirs, case: Case
) -> None:
    case(api, theirs)
    _is_unharmed(theirs)


@pytest.mark.parametrize("case", CASES.values(), ids=[" ".join(name) for name in CASES])
def test_a_stranger_finds_nothing_in_any_tier(
    api: Api, theirs_everywhere: Theirs, case: Case
) -> None:
    case(api, theirs_everywhere)
    _is_unharmed(theirs_everywhere)


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
    _is_unharmed(theirs_everywhere)


@pytest.mark.parametrize("name", CASES, ids=[" ".join(name) for name in CASES])
def test_whoever_has_no_credential_any_more_gets_nothing(
    gone: dict[str, Api], theirs_everywhere: Theirs, name: tuple[str, str]
) -> None:
    """Of the other user's own: a revoked token and key, and one of a secret that was changed."""
    for how, client in gone.items():
        reply = client.call(name[0], ADMIN_CALLS.get(name, (path_of(name[1]),))[0])
        problem(reply, 401, "invalid_token")
        assert SECRET not in reply.text, how
    _is_unharmed(theirs_everywhere)


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
    _is_unharmed(theirs)


def test_an_admin_of_this_release_reads_nobody_elses_messages(
    theirs: Theirs, admin_api: Api
) -> None:
    not_found("GET", "/api/messages/{message_id}")(admin_api, theirs)
    _is_unharmed(theirs)


def _is_unharmed(theirs: Theirs) -> None:
    assert ok(theirs.api.get("/api/session"))["state"] == {"note": SECRET}
    for part in ("state", "checkpoints/1"):
        assert ok(theirs.api.get(f"/api/runs/{THREAD}/{part}"))["state"] == {"note": SECRET}
    found = theirs.api.page(THREAD, order="asc")["messages"]
    assert [(one["id"], one["version"], one["content"]) for one in found] == [
        (one["id"], 1, SECRET) for one in theirs.messages
    ]
    assert ok(theirs.api.get(f"/api/threads/{THREAD}"))["title"] == SECRET
