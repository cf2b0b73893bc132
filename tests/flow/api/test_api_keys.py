"""API keys on real programs: what they may do, for whom, and until when; and revoked tokens."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from settings import Settings
from storage.identity.credentials import SCOPES
from support.calls.admin_calls import ADMIN_CALLS
from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.calls.keys import ALL_BUT_ADMIN, made_key, on_behalf_of, with_key
from support.data.users import fresh_user
from support.stack.processes import Launched
from support.waiting import eventually
from webapp.app import create_app
from webapp.http.requests import METHODS, PUBLIC
from webapp.http.scopes import ANY, scope_of

NEVER = "01a1fc1b-eb65-7fec-82e6-2aae62aa8097"
HEARD_SECONDS = 5


def path_of(rule: str) -> str:
    """A path of a route, of what does not exist."""
    for name in ("message_id", "key_id", "revocation_id"):
        rule = rule.replace(f"<{name}>", NEVER)
    return "/".join("1" if part.startswith("<") else part for part in rule.split("/"))


def refuses(api: Api, path: str = "/api/threads") -> bool:
    """Whether the credential of a client is refused, by whichever process answers."""
    return {api.get(path).status_code for _ in range(8)} == {401}


def token_claims(api: Api) -> dict[str, Any]:
    """What the token of a client says."""
    part = str(api._session.headers["Authorization"]).split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def test_a_header_that_only_looks_like_the_one_for_a_user_names_nobody(
    admin_api: Api, api: Api
) -> None:
    made = api.send("t", "mine")
    key = with_key(admin_api, "messages:read", "on_behalf_of")
    path = f"/api/messages/{made['id']}"
    ok(key.get(path, headers={"Threadkeep-User": made["user_id"]}))
    for lane_or_not in ({}, {"If-None-Match": '"other"'}):
        headers = {"Threadkeep_User": made["user_id"], **lane_or_not}
        problem(key.get(path, headers=headers), 404, "not_found")


def test_each_route_wants_its_scope(admin_api: Api, settings: Settings) -> None:
    keys = {scope: with_key(admin_api, scope) for scope in SCOPES}
    lacking = {
        scope: with_key(admin_api, *(one for one in SCOPES if one != scope)) for scope in SCOPES
    }
    asked = 0
    for rule in create_app(settings).url_map.iter_rules():
        for method in sorted((rule.methods or set()) & METHODS):
            wanted = scope_of(rule.endpoint, method)
            if rule.endpoint in PUBLIC or wanted == ANY:
                continue
            assert wanted is not None
            asked += 1
            path = path_of(rule.rule)
            told = problem(lacking[wanted].call(method, path), 403, "insufficient_scope")
            assert wanted in told["detail"]
            for scope, api in keys.items():
                if scope != wanted:
                    problem(api.call(method, path), 403, "insufficient_scope")
    assert asked > 50


def test_a_key_does_what_its_scopes_are_for(admin_api: Api) -> None:
    user = fresh_user()
    writer = with_key(admin_api, "messages:write", user_id=user)
    reader = with_key(admin_api, "messages:read", "threads:read", user_id=user)
    # Again and again, so that the lane has its turn as well.
    sent = [writer.send("t", f"hello {n}") for n in range(6)]
    assert {one["user_id"] for one in sent} == {user}
    for _ in range(6):
        problem(
            reader.post("/api/threads/t/messages", json={"message": "x"}),
            403,
            "insufficient_scope",
        )
        problem(writer.get("/api/threads/t/messages"), 403, "insufficient_scope")
    assert [one["id"] for one in reader.page("t", order="asc")["messages"]] == [
        one["id"] for one in sent
    ]
    assert ok(reader.get("/api/threads"))["threads"][0]["message_count"] == 6
    states = with_key(admin_api, "states:write", "states:read", user_id=user)
    ok(states.call("PUT", "/api/session", json={"state": {"mine": 1}}))
    assert ok(states.get("/api/session"))["state"] == {"mine": 1}


def test_a_key_acts_on_behalf_of_the_user_that_it_names(
    admin_api: Api, api: Api, user: str
) -> None:
    agent = with_key(admin_api, *ALL_BUT_ADMIN)
    own = agent.send("t", "of the agent's own")
    sent = on_behalf_of(agent, user).send("t", "of the user")
    assert (sent["user_id"], own["user_id"]) != (own["user_id"], own["user_id"])
    assert sent["user_id"] == user
    assert [one["id"] for one in api.page("t")["messages"]] == [sent["id"]]
    assert [one["id"] for one in agent.page("t")["messages"]] == [sent["id"]]
    problem(agent.get(f"/api/messages/{own['id']}"), 404, "not_found")


@pytest.mark.parametrize("name", ["Zoë 🙂", "50%25", "a,b", " spaced ", "a/b?c"])
def test_the_named_user_is_percent_encoded(
    admin_api: Api, token: Callable[..., str], name: str
) -> None:
    user = f"{fresh_user()}{name}"
    agent = on_behalf_of(with_key(admin_api, *ALL_BUT_ADMIN), quote(user, safe=""))
    sent = agent.send("t", "hello")
    assert sent["user_id"] == user
    found = Api(admin_api.url, token(user)).page("t")["messages"]
    assert [one["id"] for one in found] == [sent["id"]]


def test_nobody_else_acts_on_behalf_of_a_user(admin_api: Api, api: Api, user: str) -> None:
    alone = on_behalf_of(with_key(admin_api, "messages:write"), user)
    for _ in range(4):
        reply = alone.post("/api/threads/t/messages", json={"message": "x"})
        problem(reply, 403, "insufficient_scope")
        for token in (api, admin_api):
            reply = token.post(
                "/api/threads/t/messages",
                json={"message": "x"},
                headers={"Threadkeep-User": user},
            )
            problem(reply, 403, "on_behalf_of_refused")
    agent = with_key(admin_api, *ALL_BUT_ADMIN)
    for wrong in ("", "%FF", "%00", "u" * 300):
        reply = agent.get("/api/threads", headers={"Threadkeep-User": wrong})
        assert reply.status_code == 403, wrong
    problem(api.get("/api/threads/t/messages"), 404, "not_found")


def test_an_admin_key_is_no_admin_on_behalf_of_a_user(admin_api: Api, user: str) -> None:
    admin = with_key(admin_api, *SCOPES)
    ok(admin.get("/api/admin/audit"))
    on_behalf_of(admin, user)
    for (method, _), (path, *body) in ADMIN_CALLS.items():
        problem(admin.call(method, path, json=body[0] if body else None), 403, "forbidden")


def test_the_audit_trail_names_the_key_that_acted(admin_api: Api) -> None:
    made = made_key(admin_api, "admin", name="the operator's")
    user = fresh_user()
    body = {"user_id": user, "keep_days": 30}
    ok(Api(admin_api.url, made["key"]).call("PUT", "/api/admin/retention", json=body))
    entries = ok(admin_api.get("/api/admin/audit", params={"action": "retention.set"}))["entries"]
    (actor,) = [one["actor"] for one in entries if one["subject"].startswith(f"user:{user}")]
    assert actor == f"key:{made['id']} as key:{made['id']}"


def test_a_key_is_shown_once_and_listed_without_its_secret(admin_api: Api) -> None:
    made = made_key(admin_api, "messages:read", name="a bot", expires_at="2100-01-01T00:00:00Z")
    secret = made.pop("key")
    reply = admin_api.get("/api/admin/keys")
    assert secret not in reply.text
    listed = {one["id"]: one for one in ok(reply)["keys"]}[made["id"]]
    assert listed == made
    assert listed["expires_at"] == "2100-01-01T00:00:00.000000Z"
    assert secret.startswith(listed["prefix"])


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": ["all"]},
        {"name": "x", "scopes": []},
        {"name": "", "scopes": ["admin"]},
        {"name": "x", "scopes": ["admin"], "user_id": ""},
        {"name": "x", "scopes": ["admin"], "expires_at": "tomorrow"},
        {"name": "x", "scopes": ["admin"], "key": "tk_mine"},
        {"name": "x"},
    ],
)
def test_a_key_that_cannot_be_is_refused(admin_api: Api, body: dict[str, Any]) -> None:
    assert admin_api.post("/api/admin/keys", json=body).status_code == 422


def test_a_revoked_key_is_refused_within_seconds(admin_api: Api) -> None:
    made = made_key(admin_api, "messages:write", "threads:read")
    api = Api(admin_api.url, made["key"])
    assert api.send("t", "hello")
    assert ok(admin_api.delete(f"/api/admin/keys/{made['id'].upper()}"))["revoked_at"]
    eventually(lambda: refuses(api), HEARD_SECONDS)
    problem(api.post("/api/threads/t/messages", json={"message": "x"}), 401, "invalid_token")
    for unknown in (NEVER, "x"):
        problem(admin_api.delete(f"/api/admin/keys/{unknown}"), 404, "not_found")


def test_a_revoked_token_is_refused_within_seconds(
    admin_api: Api, stack: Launched, token: Callable[..., str]
) -> None:
    user = fresh_user()
    first, second = (Api(stack.url, token(user)) for _ in range(2))
    for _ in range(8):
        first.send("t", "hello")
        second.send("t", "hello")
    claims = token_claims(first)
    made = ok(admin_api.post("/api/admin/revocations", json={"token_id": claims["jti"]}), 201)
    eventually(lambda: refuses(first), HEARD_SECONDS)
    problem(first.post("/api/threads/t/messages", json={"message": "x"}), 401, "invalid_token")
    assert second.send("t", "hello")
    listed = ok(admin_api.get("/api/admin/revocations"))["revocations"]
    assert made in listed
    ok(admin_api.delete(f"/api/admin/revocations/{made['id']}"))
    eventually(lambda: first.get("/api/threads").status_code == 200, HEARD_SECONDS)
    ok(admin_api.post("/api/admin/revocations", json={"user_id": user}), 201)
    eventually(lambda: refuses(first) and refuses(second), HEARD_SECONDS)
    eventually(lambda: bool(Api(stack.url, token(user)).send("t", "of a new token")), 5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token_id": "a", "user_id": "b"},
        {"token_id": "a", "before": "2026-01-01T00:00:00Z"},
        {"user_id": "a", "until": "2026-01-01T00:00:00Z"},
        {"user_id": ""},
        {"token_id": ""},
        {"user_id": "a", "before": "yesterday"},
    ],
)
def test_a_revocation_that_says_too_little_or_too_much_is_refused(
    admin_api: Api, body: dict[str, Any]
) -> None:
    assert admin_api.post("/api/admin/revocations", json=body).status_code == 422


def test_the_commands_do_the_same(
    stack: Launched, tmp_path: Path, token: Callable[..., str]
) -> None:
    def run(*arguments: str, status: int = 0) -> bytes:
        done = threadkeep(tmp_path, stack.env, *arguments)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    user = fresh_user()
    scopes = ("--scope", "messages:write", "--scope", "threads:read")
    secret = run("keys", "create", "a bot", *scopes, "--user", user).decode().strip()
    api = Api(stack.url, secret)
    assert eventually(lambda: api.send("t", "hello"), HEARD_SECONDS)["user_id"] == user
    made = json.loads(run("keys", "create", "another", *scopes, "--json"))
    assert made["key"].startswith("tk_")
    listed = {one["id"]: one for one in json.loads(run("keys", "list", "--json"))}
    (own,) = [one for one in listed.values() if one["user_id"] == user]
    assert secret not in str(listed) and made["id"] in listed
    assert b"a bot" in run("keys", "list")
    assert b"revoked: a bot" in run("keys", "revoke", own["id"])
    eventually(lambda: refuses(api), HEARD_SECONDS)
    assert b"there is no API key" in run("keys", "revoke", NEVER, status=1)
    run("keys", "create", "x", "--scope", "everything", status=2)
    run("keys", "create", "x", *scopes, "--expires", "soon", status=2)

    theirs = Api(stack.url, token(user))
    assert theirs.get("/api/threads").status_code == 200
    revoked = json.loads(run("tokens", "revoke", "--user", user, "--json"))
    eventually(lambda: refuses(theirs), HEARD_SECONDS)
    assert revoked["id"] in {one["id"] for one in json.loads(run("tokens", "list", "--json"))}
    assert user[:8].encode() in run("tokens", "list").replace(b"\n", b"")
    run("tokens", "restore", revoked["id"])
    eventually(lambda: theirs.get("/api/threads").status_code == 200, HEARD_SECONDS)
    jti = token_claims(theirs)["jti"]
    assert b"revoked: token" in run("tokens", "revoke", "--jti", jti)
    eventually(lambda: refuses(theirs), HEARD_SECONDS)
    run("tokens", "revoke", status=2)
    run("tokens", "revoke", "--jti", "a", "--user", "b", status=2)
    assert b"there is no revocation" in run("tokens", "restore", NEVER, status=1)
    actors = json.loads(run("audit", "--action", "tokens.revoked", "--json"))
    assert actors[0]["actor"].startswith("cli:")


def test_guesses_are_answered_like_any_wrong_token(stack: Launched) -> None:
    for guess in ("tk_" + "0" * 64, "tk_", "tk_" + "z" * 64):
        for path in ("/api/threads", "/api/admin/keys", "/metrics"):
            headers = {"Authorization": f"Bearer {guess}"}
            reply = requests.get(stack.url + path, headers=headers, timeout=10)
            problem(reply, 401, "invalid_token")
