"""Nothing that a request asks for is passed over: every route heeds or refuses it.

No server answers here: what a route itself does is not reached, or ends with 503.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.auth import Tokens
from webapp.http.operation import operations
from webapp.openapi import document
from webapp.openapi.unsupported import CONDITIONS, UNDESCRIBED

OWN = settings.load(COMPLETE | {"THREADKEEP_METRICS_OPEN": "1", "WS_URL": "ws://ws.example/api/ws"})
APP = create_app(OWN)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
FREE = {endpoint for endpoint, heeded in UNDESCRIBED.items() if heeded.query is None}
FILLED = {"build": "0", "name": "base.css", "message_id": "0", "user_id": "u"}
VALUES = {
    "If-Match": '"1"',
    "If-None-Match": '"1"',
    "If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT",
    "If-Unmodified-Since": "Thu, 01 Jan 2026 00:00:00 GMT",
    "If-Range": '"1"',
}


class Call(NamedTuple):
    """A route with something in the place of each name; `headers` are the conditions it heeds."""

    method: str
    path: str
    endpoint: str
    query: tuple[str, ...]
    repeated: tuple[str, ...]
    headers: tuple[str, ...]


def calls(app: Flask) -> Iterator[Call]:
    described = operations(app)
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: FILLED.get(name[1], "1"), rule.rule)
        for method in sorted((rule.methods or set()) & METHODS):
            operation = described.get(rule.endpoint)
            if operation is None:
                heeded = UNDESCRIBED[rule.endpoint]
                yield Call(method, path, rule.endpoint, (), (), heeded.conditions)
            else:
                known = operation.query, operation.repeated, operation.headers
                yield Call(method, path, rule.endpoint, *known)


CALLS = list(calls(APP))
STRICT = [call for call in CALLS if call.endpoint not in FREE]


def name_of(call: Call) -> str:
    return f"{call.method} {call.path}"


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return APP.test_client()


@pytest.fixture(scope="module")
def admin() -> dict[str, str]:
    token = Tokens(OWN).issue("somebody", is_admin=True, ttl_seconds=600)
    return {"Authorization": f"Bearer {token}"}


def code(client: FlaskClient, call: Call, headers: dict[str, str], query: str = "") -> str:
    """The status, and the code of the problem if it is one."""
    with client.open(
        call.path, method=call.method, headers=headers, query_string=query, data=b"{}"
    ) as reply:
        is_told = reply.mimetype == "application/problem+json" and call.method != "HEAD"
        problem = reply.get_json() if is_told else None
        return f"{reply.status_code} {problem['code'] if problem else ''}".strip()


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_a_condition_is_heeded_or_refused(
    client: FlaskClient, admin: dict[str, str], call: Call
) -> None:
    for name, value in VALUES.items():
        answered = code(client, call, admin | {name: value})
        if name in call.headers:
            assert "condition_unsupported" not in answered or call.method == "PUT", name
            assert code(client, call, admin | {name: " "}).startswith("400"), name
        else:
            # A HEAD has no body to say why.
            assert answered.startswith("400"), (name, answered)


@pytest.mark.parametrize("call", STRICT, ids=name_of)
def test_a_query_parameter_that_is_not_known_is_refused_by_name(
    client: FlaskClient, admin: dict[str, str], call: Call
) -> None:
    assert code(client, call, admin, "afterwards=1").startswith("422")
    if call.method != "HEAD":
        reply = client.open(call.path, method=call.method, headers=admin, query_string="x-y=1")
        assert reply.get_json()["code"] == "unknown_parameter"
        told = reply.get_json()["detail"]
        assert "x-y" in told
        assert all(name in told for name in call.query)


@pytest.mark.parametrize("call", STRICT, ids=name_of)
def test_a_parameter_is_given_once_and_with_a_value(
    client: FlaskClient, admin: dict[str, str], call: Call
) -> None:
    for name in call.query:
        if name not in call.repeated:
            assert code(client, call, admin, f"{name}=1&{name}=1").startswith("422"), name
        if name != "cursor":
            assert code(client, call, admin, f"{name}=").startswith("422"), name


@pytest.mark.parametrize("call", [one for one in CALLS if one.endpoint in FREE], ids=name_of)
def test_what_only_caches_look_at_may_stand_behind_a_page(client: FlaskClient, call: Call) -> None:
    assert code(client, call, {}, "v=1&v=2") in {"200", "404", "404 not_found"}


@pytest.mark.parametrize(
    "path", ["/", "/operations", "/docs", "/docs/errors", "/docs/assets/start.js", "/openapi.json"]
)
def test_a_page_that_is_known_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = client.get(path)
    tag = first.headers["ETag"]
    again = client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).data == first.data


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/errors", "/docs/assets/start.js", "/openapi.json", "/"]
)
def test_everything_for_browsers_says_what_it_may_do(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_description_is_made_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/openapi.json").data
    monkeypatch.setattr(document, "ORDER", ())
    assert client.get("/openapi.json").data == first


def test_a_date_is_not_looked_at_where_an_etag_is(
    client: FlaskClient, admin: dict[str, str]
) -> None:
    # No server answers, so 503 is past the door.
    both = {name: VALUES[name] for name in ("If-None-Match", "If-Modified-Since")}
    assert client.get("/api/session", headers=admin | both).status_code == 503


def test_the_description_names_every_condition_and_what_it_leads_to() -> None:
    for path in document.document(APP)["paths"].values():
        for method, operation in path.items():
            assert {"400", "422"} <= set(operation["responses"])
            named = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
            assert ("304" in operation["responses"]) == (
                method == "get" and "If-None-Match" in named
            )
            assert ("412" in operation["responses"]) == ("If-Match" in named)
            assert ("415" in operation["responses"]) == ("requestBody" in operation)


def test_a_redirect_to_the_event_stream_keeps_what_was_asked_for(
    client: FlaskClient, admin: dict[str, str]
) -> None:
    reply = client.get("/api/events?thread_id=a&thread_id=b", headers=admin)
    assert reply.headers["Location"] == "http://ws.example/api/events?thread_id=a&thread_id=b"
    assert client.get("/api/ws?ticket=a", headers=admin).headers["Location"].endswith("?ticket=a")


def test_every_condition_of_http_is_known() -> None:
    assert set(CONDITIONS.values()) == set(VALUES)
