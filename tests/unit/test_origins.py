"""Pages of allowed origins may read every answer, others none."""

from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from support.calls.pages import FOR_BROWSERS, SHOWN_ANYWAY, cors_headers
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.door.bridge import DoorRequest
from webapp.http.auth import Tokens
from webapp.http.origins import Origins

HOME = "https://chat.example"
ELSEWHERE = "https://evil.example"
NAMED = "https://Chat.Example:443/, http://localhost:*, https://[::1]:*, http://10.0.0.7:3000"
OWN = settings.load(
    COMPLETE | {"THREADKEEP_ORIGINS": NAMED, "API_URL": "https://api.example:8443/"}
)
TOKEN = Tokens(OWN).issue("somebody", is_admin=False, ttl_seconds=600)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MESSAGES = "/api/threads/t/messages"


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(OWN).test_client()


def readable(reply: TestResponse) -> bool:
    """Whether a page of `HOME` may read the answer and its headers."""
    shown = reply.headers.get("Access-Control-Expose-Headers", "").lower().split(", ")
    told = {name.lower() for name, _ in reply.headers}
    assert told - {*shown} <= SHOWN_ANYWAY | FOR_BROWSERS
    assert reply.headers.getlist("Vary") == ["Origin"]
    assert "Access-Control-Allow-Credentials" not in reply.headers
    return reply.headers.getlist("Access-Control-Allow-Origin") == [HOME]


@pytest.mark.parametrize(
    "origin",
    [
        HOME,
        "https://api.example:8443",
        "http://localhost",
        "http://localhost:3000",
        "https://[::1]",
        "https://[::1]:8443",
        "http://10.0.0.7:3000",
    ],
)
def test_pages_of_these_may_call(origin: str) -> None:
    assert Origins(OWN).allow(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        ELSEWHERE,
        "http://chat.example",
        "https://chat.example:8443",
        "https://chat.example.evil.example",
        "https://evil.example/https://chat.example",
        "https://api.example",
        "https://localhost:3000",
        "http://localhost.evil.example:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:٣",
        "http://localhost:",
        "http://10.0.0.7",
        "http://10.0.0.7:*",
    ],
)
def test_pages_of_those_may_not(origin: str) -> None:
    assert not Origins(OWN).allow(origin)


def test_nobody_is_allowed_where_nothing_is_named() -> None:
    own = Origins(settings.load(COMPLETE))
    assert not any(own.allow(origin) for origin in ("", "null", "://", HOME, "http://localhost:1"))


@pytest.mark.parametrize("path", [MESSAGES, "/api/threads", "/api/nothing", "/healthz", "/api/ws"])
def test_a_preflight_needs_no_token(client: FlaskClient, path: str) -> None:
    asked = {
        "Origin": HOME,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    reply = client.options(path, headers=asked)
    assert (reply.status_code, reply.data) == (204, b"")
    assert readable(reply)
    allowed = reply.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "x-request-id"} <= set(allowed)
    # Of OpenAI's clients, in a page.
    assert {"openai-organization", "x-stainless-lang", "x-stainless-retry-count"} <= set(allowed)
    methods = reply.headers["Access-Control-Allow-Methods"].split(", ")
    assert methods == ["GET", "POST", "PUT", "PATCH", "DELETE"]
    assert int(reply.headers["Access-Control-Max-Age"]) >= 600


def test_a_foreign_preflight_is_told_why_and_its_page_nothing(client: FlaskClient) -> None:
    asked = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "POST"}
    reply = client.options(MESSAGES, headers=asked)
    assert (reply.status_code, reply.get_json()["code"]) == (403, "foreign_origin")
    assert ELSEWHERE in reply.get_json()["detail"]
    assert cors_headers(reply.headers) == {}


def test_what_is_no_preflight_needs_a_token(client: FlaskClient) -> None:
    assert client.options(MESSAGES).status_code == 401
    asked = {"Origin": HOME, "Access-Control-Request-Method": "POST"}
    assert client.get("/api/threads", headers=asked).status_code == 401


CALLS: list[tuple[int, str, str, dict[str, Any]]] = [
    (200, "GET", "/healthz", {}),
    (200, "GET", "/openapi.json", {}),
    (401, "GET", "/api/threads", {}),
    (404, "GET", "/api/nothing", {}),
    (405, "PUT", "/healthz", {}),
    (200, "GET", "/api", {"headers": BEARER}),
    (400, "POST", MESSAGES, {"headers": BEARER, "data": b"{"}),
    (413, "POST", MESSAGES, {"headers": BEARER, "data": b"x" * 600_000}),
    (415, "POST", MESSAGES, {"headers": BEARER | {"Content-Encoding": "br"}, "data": b"x"}),
    (422, "POST", MESSAGES, {"headers": BEARER, "json": {"message": ""}}),
    (422, "GET", "/api/threads?ticket=x", {"headers": BEARER}),
    (403, "GET", "/api/admin/audit", {"headers": BEARER}),
    # No server answers.
    (503, "POST", MESSAGES, {"headers": BEARER, "json": {"message": "x"}}),
    (503, "POST", "/api/tickets", {"headers": BEARER}),
]


@pytest.mark.parametrize(("status", "method", "path", "more"), CALLS)
def test_every_answer_is_read_by_pages_that_may_and_by_no_others(
    client: FlaskClient, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    def ask(origin: dict[str, str]) -> TestResponse:
        given = {**more, "headers": more.get("headers", {}) | origin}
        reply = client.open(path, method=method, **given)
        assert reply.status_code == status, reply.text
        return reply

    assert readable(ask({"Origin": HOME}))
    foreign = ask({"Origin": ELSEWHERE})
    assert cors_headers(foreign.headers) == {}
    assert foreign.headers.getlist("Vary") == ["Origin"]
    alone = ask({})
    assert cors_headers(alone.headers) == {}
    # Caches would give it to pages too, without their headers.
    is_kept = alone.headers["Cache-Control"] != "no-store"
    assert alone.headers.getlist("Vary") == (["Origin"] if is_kept else [])


def test_a_failure_inside_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(OWN)

    def fail() -> None:
        raise RuntimeError("a test")

    monkeypatch.setitem(app.view_functions, "health.healthz", fail)
    reply = app.test_client().get("/healthz", headers={"Origin": HOME})
    assert (reply.status_code, reply.get_json()["code"]) == (500, "internal_error")
    assert readable(reply)


class Protocol:
    """What the HTTP server takes an answer with."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []

    def response_bytes(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.headers = headers


class Asked:
    """What the HTTP server says of a request."""

    client = "127.0.0.1:1"

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({}, None),
        ({"origin": ELSEWHERE}, None),
        ({"origin": HOME}, HOME),
        ({"origin": "http://localhost:5173"}, "http://localhost:5173"),
    ],
)
def test_what_the_door_answers_by_itself_is_read_too(
    headers: dict[str, str], given: str | None
) -> None:
    told = Protocol()
    request = DoorRequest(cast(Any, Asked(headers)), cast(Any, told), set(), Origins(OWN))
    request.respond(503, [("Content-Type", "application/json")], b"{}")
    named = dict(told.headers)
    assert named.get("Access-Control-Allow-Origin") == given
    assert ("Vary" in named) == bool(headers)
