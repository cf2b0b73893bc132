"""A post is answered the same, whether the write lane takes it or the application alone."""

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client

from models.message import MAX_CONTENT_BYTES
from support.data.samples import AWKWARD_TEXTS
from support.stack.processes import Launched
from webapp.app import create_app
from wiring.process import Services

OWN = {"date", "server", "content-length"}
"""Headers of the HTTP server."""
VARYING = {"id", "created_at", "updated_at", "latency_ms", "content_hash", "request_id"}
"""Members of an answer that are never the same twice."""


class Post(NamedTuple):
    """A post as a client sends it."""

    body: bytes
    headers: Mapping[str, str] = {}
    thread: str = "both"
    query: str = ""


class Answer(NamedTuple):
    """What a client sees of an answer."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def given(**body: Any) -> bytes:
    return json.dumps(body).encode()


def nested(levels: int) -> dict[str, Any]:
    """An object that is so many levels deep."""
    return {"a": nested(levels - 1)} if levels else {}


HELLO = given(message="hello")
POSTS = {
    "usual": Post(HELLO),
    "with_all": Post(given(message="hi", role="tool", metadata={"b": [1, None], "a": {"c": 0.5}})),
    "committed": Post(given(message="hi", durability="committed")),
    "fsynced": Post(given(message="hi", durability="fsynced")),
    "only_metadata": Post(given(message=None, metadata={"call": "x"})),
    "own_request_id": Post(HELLO, {"X-Request-ID": "mine-1"}),
    "wrong_request_id": Post(HELLO, {"X-Request-ID": "not one!"}),
    "another_type": Post(HELLO, {"Content-Type": "text/plain"}),
    "another_scheme": Post(HELLO, {"Authorization": "bEaReR {token}"}),
    "largest": Post(given(message="x" * MAX_CONTENT_BYTES)),
    **{f"text_{at}": Post(given(message=text)) for at, text in enumerate(AWKWARD_TEXTS)},
    # What is wrong.
    "no_token": Post(HELLO, {"Authorization": ""}),
    "wrong_token": Post(HELLO, {"Authorization": "Bearer x.y.z"}),
    "no_body": Post(b""),
    "no_json": Post(b"hello"),
    "an_array": Post(b"[]"),
    "too_deep": Post(b'{"message":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    "unknown_field": Post(given(message="hi", colour="red")),
    "wrong_role": Post(given(message="hi", role="king")),
    "no_message": Post(given(role="user")),
    "empty": Post(given(message="")),
    "too_long": Post(given(message="x" * (MAX_CONTENT_BYTES + 1))),
    "lone_surrogate": Post(b'{"message":"\\ud800"}'),
    "nul": Post(given(message="a\0b")),
    "reserved": Post(given(message="hi", metadata={"threadkeep:stream": {}})),
    "deep_metadata": Post(
        given(message="hi", metadata={"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]})
    ),
    "infinite": Post(b'{"message":"hi","metadata":{"a":1e999}}'),
    "wrong_thread": Post(HELLO, thread="a%20b"),
    "dots": Post(HELLO, thread="%2E%2E"),
    "long_thread": Post(HELLO, thread="x" * 129),
    "encoded_thread": Post(HELLO, thread="%62oth"),
    "a_query": Post(HELLO, query="?limit=1"),
    "if_match": Post(HELLO, {"If-Match": '"1"'}),
    "if_none_match": Post(HELLO, {"If-None-Match": "*"}),
    "gzip": Post(HELLO, {"Content-Encoding": "gzip"}),
    "identity": Post(HELLO, {"Content-Encoding": "identity"}),
    "empty_key": Post(HELLO, {"Idempotency-Key": ""}),
    "long_key": Post(HELLO, {"Idempotency-Key": "k" * 257}),
}


class Doors:
    """The HTTP server of the stack, and the application alone over the same tiers."""

    def __init__(self, stack: Launched, services: Services, token: str) -> None:
        parts = urlsplit(stack.url)
        self._server = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._alone = Client(create_app(services.settings))
        self._token = token

    def close(self) -> None:
        self._server.close()

    def by_server(self, post: Post) -> Answer:
        """The answer that comes over HTTP."""
        self._server.request("POST", self._path(post), post.body, self._headers(post))
        with self._server.getresponse() as reply:
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return _answer(reply.status, headers, reply.read())

    def alone(self, post: Post) -> Answer:
        """The answer of the application without the server."""
        headers = self._headers(post)
        reply = self._alone.post(self._path(post), data=post.body, headers=headers)
        found = {name.lower(): value for name, value in reply.headers.items()}
        return _answer(reply.status_code, found, reply.get_data())

    def _path(self, post: Post) -> str:
        return f"/api/threads/{post.thread}/messages{post.query}"

    def _headers(self, post: Post) -> dict[str, str]:
        usual = {"Authorization": "Bearer {token}", "Content-Type": "application/json"}
        headers = usual | dict(post.headers)
        return {name: value.format(token=self._token) for name, value in headers.items() if value}


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    return Answer(status, {k: v for k, v in headers.items() if k not in OWN}, json.loads(body))


def same(answer: Answer) -> Answer:
    """What must be the same however often it is asked for."""
    headers = dict(answer.headers)
    if answer.body.get("request_id", headers["x-request-id"]) == headers["x-request-id"]:
        headers["x-request-id"] = "mine-1" if headers["x-request-id"] == "mine-1" else "made"
    body = {name: value for name, value in answer.body.items() if name not in VARYING}
    return Answer(answer.status, headers, body)


@pytest.fixture
def doors(stack: Launched, services: Services, user_token: str) -> Iterator[Doors]:
    both = Doors(stack, services, user_token)
    yield both
    both.close()


@pytest.mark.parametrize("name", POSTS)
def test_a_post_is_answered_the_same_both_ways(doors: Doors, name: str) -> None:
    assert same(doors.by_server(POSTS[name])) == same(doors.alone(POSTS[name]))


@pytest.mark.parametrize("first", ["by_server", "alone"])
def test_a_repeated_key_is_answered_the_same_both_ways(doors: Doors, first: str) -> None:
    keyed = Post(HELLO, {"Idempotency-Key": "again"})
    made = getattr(doors, first)(keyed)
    assert "idempotency-replayed" not in made.headers
    server, alone = doors.by_server(keyed), doors.alone(keyed)
    assert server.body["id"] == alone.body["id"] == made.body["id"]
    assert same(server) == same(alone)
    assert server.headers["idempotency-replayed"] == "true"
    other = keyed._replace(body=given(message="something else"))
    assert same(doors.by_server(other)) == same(doors.alone(other))
    assert doors.by_server(other).body["code"] == "idempotency_key_reused"
