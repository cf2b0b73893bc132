"""Pages of other origins: what the real programs tell their browsers."""

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests

from support.calls.api import TIMEOUT_SECONDS, Api, ok, problem
from support.calls.pages import FOR_BROWSERS, SHOWN_ANYWAY, cors_headers
from support.stack.processes import Launched

HOME = "http://localhost:3111"
"""A page that somebody serves from their own machine, which `up` allows."""
FOREIGN = ("https://evil.example", "null", "http://localhost.evil.example:3111", "http://127.0.0.2")
MESSAGES = "/api/threads/t/messages"
ASKED = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-request-id",
}
BEYOND = b'{"message": "' + b"x" * 600_000 + b'"}'

Ask = Callable[..., requests.Response]


@pytest.fixture(params=["web", "realtime"])
def door(request: pytest.FixtureRequest, stack: Launched, user_token: str) -> Api:
    """Each process that pages speak to."""
    realtime = re.sub("^ws(.*)/api/ws$", r"http\1", stack.env["WS_URL"])
    return Api(stack.url if request.param == "web" else realtime, user_token)


def readable(reply: requests.Response) -> bool:
    """Whether a page of `HOME` may read the answer, with all its headers."""
    told = cors_headers(reply.headers.items())
    shown = told.get("access-control-expose-headers", "").lower().split(", ")
    sent = {name.lower() for name in reply.headers} - {"server", "transfer-encoding"}
    assert sent - {*shown} <= SHOWN_ANYWAY | FOR_BROWSERS, sent
    assert "Origin" in reply.headers["Vary"]
    assert "access-control-allow-credentials" not in told
    return told["access-control-allow-origin"] == HOME


def test_a_preflight_needs_no_token(door: Api) -> None:
    for path in (MESSAGES, "/api/tickets", "/api/events?ticket=x", "/api/nothing"):
        reply = requests.options(door.url + path, headers={"Origin": HOME, **ASKED}, timeout=10)
        assert (reply.status_code, reply.content) == (204, b"")
        assert readable(reply)
        told = cors_headers(reply.headers.items())
        allowed = told["access-control-allow-headers"].lower().split(", ")
        assert set(ASKED["Access-Control-Request-Headers"].split(",")) <= set(allowed)
        assert "PATCH" in told["access-control-allow-methods"]
        assert int(told["access-control-max-age"]) >= 600


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_is_told_nothing(door: Api, origin: str) -> None:
    preflight = requests.options(
        door.url + MESSAGES, headers={"Origin": origin, **ASKED}, timeout=10
    )
    problem(preflight, 403, "foreign_origin")
    replies = [
        preflight,
        door.get("/healthz", headers={"Origin": origin}),
        door.get("/api", headers={"Origin": origin}),
        door.post(MESSAGES, json={"message": "x"}, headers={"Origin": origin}),
        door.post(MESSAGES, data=BEYOND, headers={"Origin": origin}),
    ]
    for reply in replies:
        assert cors_headers(reply.headers.items()) == {}
        assert "Origin" in reply.headers["Vary"]


def test_an_acknowledgement_is_read(api: Api) -> None:
    given = {"Origin": HOME, "Idempotency-Key": "k", "X-Request-ID": "mine"}
    for replayed in (False, True):
        reply = api.post(MESSAGES, json={"message": "hello"}, headers=given)
        assert ok(reply)["content"] == "hello"
        assert reply.headers["X-Request-ID"] == "mine"
        assert ("Idempotency-Replayed" in reply.headers) == replayed
        assert readable(reply)
    # One that the write lane leaves to the application.
    durable = {"message": "hello", "durability": "committed"}
    assert readable(api.post(MESSAGES, json=durable, headers={"Origin": HOME}))
    assert cors_headers(api.post(MESSAGES, json={"message": "x"}).headers.items()) == {}


def test_every_error_of_the_api_is_read(api: Api, anonymous_api: Api) -> None:
    def ask(who: Api, method: str, path: str, **more: Any) -> requests.Response:
        reply = who.call(method, path, headers={"Origin": HOME}, **more)
        assert readable(reply)
        return reply

    problem(ask(anonymous_api, "POST", MESSAGES, json={"message": "x"}), 401, "invalid_token")
    problem(ask(anonymous_api, "POST", MESSAGES, data=BEYOND), 401, "invalid_token")
    problem(ask(api, "POST", MESSAGES, data=BEYOND), 413, "body_too_large")
    in_chunks = ask(api, "POST", MESSAGES, data=iter([BEYOND]))
    problem(in_chunks, 413, "body_too_large")
    problem(ask(api, "POST", MESSAGES, data=b"{"), 400, "malformed_json")
    problem(ask(api, "POST", MESSAGES, json={"message": ""}), 422, "content_empty")
    problem(ask(api, "GET", "/api/threads/none"), 404, "not_found")
    problem(ask(api, "GET", "/api/nothing"), 404, "not_found")
    problem(ask(api, "PUT", "/api/threads"), 405, "method_not_allowed")
    problem(ask(api, "POST", "/api/admin/recover-redis-cache"), 403, "forbidden")


def test_every_error_of_the_realtime_process_is_read(stack: Launched, user_token: str) -> None:
    own = re.sub("^ws(.*)/api/ws$", r"http\1", stack.env["WS_URL"])
    known, unknown = Api(own, user_token), Api(own, None)
    calls = [
        (unknown.get("/api/events", headers={"Origin": HOME}), 401),
        (unknown.get("/api/events?ticket=x", headers={"Origin": HOME}), 401),
        (known.get("/api/nothing", headers={"Origin": HOME}), 404),
        (known.get("/api/events?a=b", headers={"Origin": HOME}), 422),
        (known.get("/api/ws", headers={"Origin": HOME}), 426),
    ]
    for reply, status in calls:
        assert reply.status_code == status
        assert readable(reply)
    with known.get("/api/events", headers={"Origin": HOME}, stream=True) as reply:
        assert reply.status_code == 200
        assert readable(reply)


def test_an_origin_that_is_no_text_disturbs_nothing(stack: Launched, user_token: str) -> None:
    host, _, port = stack.url.removeprefix("http://").partition(":")
    body = b'{"message":"hello"}'
    head = [
        f"POST {MESSAGES} HTTP/1.1".encode(),
        b"Host: " + host.encode(),
        b"Authorization: Bearer " + user_token.encode(),
        b"Content-Length: " + str(len(body)).encode(),
        b"Connection: close",
        b"Origin: http://caf\xe9.example",
    ]
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as link:
        link.sendall(b"\r\n".join([*head, b"", body]))
        answer = b"".join(iter(lambda: link.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"access-control" not in answer.lower()
