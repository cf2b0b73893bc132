"""Bodies that come in pieces, in chunks, too slowly or unwanted; and requests not of HTTP/1.1."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from support.calls.api import Api, ok, problem
from support.calls.slow_clients import LARGE, PREFACE, post
from support.stack.processes import Launched

MESSAGES = "/api/threads/bodies/messages"
BODY = b'{"message": "in pieces"}'


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield link


def answered(link: socket.socket) -> tuple[int, dict[str, str], bytes]:
    reply = HTTPResponse(link)
    reply.begin()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


def head(token: str, *more: str) -> bytes:
    lines = [f"POST {MESSAGES} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_in_pieces(stack: Launched, user_token: str) -> None:
    with connected(stack.url) as link:
        link.sendall(head(user_token, f"Content-Length: {len(BODY)}"))
        for at in range(0, len(BODY), 8):
            link.sendall(BODY[at : at + 8])
        status, headers, body = answered(link)
        assert (status, json.loads(body)["content"]) == (200, "in pieces")
        assert headers.get("connection") != "close"


@pytest.mark.parametrize("size", [len(BODY), 300_000])
def test_a_body_in_chunks(stack: Launched, user_token: str, size: int) -> None:
    body = BODY[:-1] + b" " * (size - len(BODY)) + b"}"
    with connected(stack.url) as link:
        link.sendall(head(user_token, "Transfer-Encoding: chunked"))
        for at in range(0, size, 30_000):
            part = body[at : at + 30_000]
            link.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        link.sendall(b"0\r\n\r\n")
        assert answered(link)[0] == 200
        # The connection goes on where the body was read to its end.
        link.sendall(head(user_token, f"Content-Length: {len(BODY)}") + BODY)
        assert answered(link)[0] == 200


def test_chunks_that_are_too_large_together_are_refused(stack: Launched, user_token: str) -> None:
    with connected(stack.url) as link:
        link.sendall(head(user_token, "Transfer-Encoding: chunked"))
        for _ in range(20):
            link.sendall(b"%x\r\n%b\r\n" % (30_000, b" " * 30_000))
        link.sendall(b"0\r\n\r\n")
        status, headers, body = answered(link)
        assert (status, json.loads(body)["code"]) == (413, "body_too_large")
        assert headers["content-type"] == "application/problem+json"


def test_a_body_that_stops_is_told_so(stack: Launched, user_token: str) -> None:
    with connected(stack.url) as link:
        link.sendall(post(user_token, 5_000))
        status, headers, body = answered(link)
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        assert headers["connection"] == "close"
        assert link.recv(1) == b""


@pytest.mark.parametrize("line", [f"POST {MESSAGES}", "POST /nowhere", "POST /healthz"])
def test_a_body_of_what_is_refused_is_not_waited_for(stack: Launched, line: str) -> None:
    with connected(stack.url) as link:
        link.sendall(f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n{{".encode())
        status, headers, _ = answered(link)
        assert status in {401, 404, 405}
        assert headers["content-type"] == "application/problem+json"
        assert link.recv(1) == b""


def test_headers_come_through_as_they_are(stack: Launched, user_token: str) -> None:
    parts = urlsplit(stack.url)
    link = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    link.putrequest("GET", "/api/search?limit=1&q=%C3%A9")
    link.putheader("Authorization", f"Bearer {user_token}")
    link.putheader("X-Request-ID", "of-my-own")
    link.putheader("Accept", "text/html")
    link.putheader("Accept", "application/json")
    link.putheader("X-Odd", "\xe9")
    link.endheaders()
    reply = link.getresponse()
    assert (reply.status, reply.getheader("X-Request-ID")) == (200, "of-my-own")
    link.close()


def test_a_head_is_a_get_without_its_body(api: Api) -> None:
    got, asked = api.get("/healthz"), api.call("HEAD", "/healthz")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_path_is_decoded_once(api: Api) -> None:
    assert ok(api.post("/api/threads/%61-b/messages", json={"message": "x"}))["thread_id"] == "a-b"
    for odd in ("%C3%BC", "%FF", "%2561"):
        reply = api.post(f"/api/threads/{odd}/messages", json={"message": "x"})
        problem(reply, 422, "thread_id_invalid")


def test_http_2_is_not_spoken(stack: Launched) -> None:
    for url in (stack.url, stack.env["WS_URL"]):
        with connected(url) as link:
            link.sendall(PREFACE)
            heard = link.recv(1_000)
            assert not heard or heard.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /api/ws HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /api/events HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /api/events HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_malformed_gets_a_problem_of_the_sockets(
    stack: Launched, says: bytes, status: int
) -> None:
    with connected(stack.env["WS_URL"]) as link:
        link.sendall(says)
        found, headers, body = answered(link)
        assert found == status
        assert headers["content-type"] == "application/problem+json"
        told = json.loads(body)
        assert told["status"] == status
        assert told["type"] == f"/docs/errors#{told['code']}"
        assert ("first frame" in told["detail"]) == (status == 431)
