"""A post or a read is answered the same, whether a lane takes it or the application alone."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client

from models.message import MAX_CONTENT_BYTES
from support.data.samples import AWKWARD_TEXTS
from support.stack.processes import Launched
from support.waiting import eventually
from webapp.app import create_app
from wiring.process import Services

OWN = {"date", "server", "content-length"}
"""Headers of the HTTP server."""
LATENCY = re.compile(rb'"latency_ms":[0-9.e-]+')
VARYING = {"id", "created_at", "updated_at", "latency_ms", "content_hash", "request_id"}
"""Members of an answer that are never the same twice."""


class Post(NamedTuple):
    """A post as a client sends it."""

    body: bytes
    headers: Mapping[str, str] = {}
    thread: str = "both"
    query: str = ""

    @property
    def method(self) -> str:
        return "POST"

    @property
    def path(self) -> str:
        return f"/api/threads/{self.thread}/messages{self.query}"


class Read(NamedTuple):
    """A read as a client sends it. `{id}` in its path stands for a message of the thread."""

    path: str
    headers: Mapping[str, str] = {}
    method: str = "GET"
    body: bytes = b""


class Answer(NamedTuple):
    """What a client sees of an answer."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    content: bytes = b""


def given(**body: Any) -> bytes:
    return json.dumps(body).encode()


def nested(levels: int) -> dict[str, Any]:
    """An object that is so many levels deep."""
    return {"a": nested(levels - 1)} if levels else {}


HELLO = given(message="hello")
READS = {
    "page": Read("/api/threads/both/messages"),
    "page_limit": Read("/api/threads/both/messages?limit=2"),
    "page_all": Read("/api/threads/both/messages?limit=1000"),
    "list": Read("/api/threads"),
    "list_limit": Read("/api/threads?limit=1"),
    "message": Read("/api/messages/{id}"),
    "own_request_id": Read("/api/messages/{id}", {"X-Request-ID": "mine-1"}),
    "another_scheme": Read("/api/threads/both/messages", {"Authorization": "bEaReR {token}"}),
    "encoded_thread": Read("/api/threads/%62oth/messages"),
    # What is unusual.
    "page_order": Read("/api/threads/both/messages?order=asc"),
    "page_cursor": Read("/api/threads/both/messages?limit=2&cursor={id}"),
    "capitals": Read("/api/messages/{ID}"),
    "list_archived": Read("/api/threads?is_archived=true"),
    "if_none_match": Read("/api/messages/{id}", {"If-None-Match": '"1"'}),
    "if_none_match_page": Read("/api/threads/both/messages", {"If-None-Match": '"1"'}),
    "if_match_list": Read("/api/threads", {"If-Match": '"1"'}),
    "a_key": Read("/api/threads", {"Idempotency-Key": "k"}),
    "a_body": Read("/api/messages/{id}", body=b"{}"),
    "streaming": Read("/api/threads/streaming/messages"),
    "empty_thread": Read("/api/threads/empty/messages"),
    # What is wrong.
    "no_token": Read("/api/messages/{id}", {"Authorization": ""}),
    "wrong_token": Read("/api/threads", {"Authorization": "Bearer x.y.z"}),
    "no_thread": Read("/api/threads/none/messages"),
    "wrong_thread": Read("/api/threads/a%20b/messages"),
    "no_message": Read("/api/messages/00000000-0000-7000-8000-000000000000"),
    "no_id": Read("/api/messages/" + "-" * 36),
    "deleted_message": Read("/api/messages/{deleted}"),
    "limit_0": Read("/api/threads/both/messages?limit=0"),
    "limit_1001": Read("/api/threads?limit=1001"),
    "limit_twice": Read("/api/threads?limit=1&limit=2"),
    "unknown_parameter": Read("/api/messages/{id}?limit=1"),
}
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

    def by_server(self, call: Post | Read) -> Answer:
        """The answer that comes over HTTP."""
        self._server.request(call.method, call.path, call.body or None, self._headers(call))
        with self._server.getresponse() as reply:
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return _answer(reply.status, headers, reply.read())

    def alone(self, call: Post | Read) -> Answer:
        """The answer of the application without the server."""
        reply = self._alone.open(
            call.path, method=call.method, data=call.body, headers=self._headers(call)
        )
        found = {name.lower(): value for name, value in reply.headers.items()}
        return _answer(reply.status_code, found, reply.get_data())

    def _headers(self, call: Post | Read) -> dict[str, str]:
        usual = {"Authorization": "Bearer {token}", "Content-Type": "application/json"}
        headers = usual | dict(call.headers)
        return {name: value.format(token=self._token) for name, value in headers.items() if value}


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    kept = {name: value for name, value in headers.items() if name not in OWN}
    return Answer(status, kept, json.loads(body or b"{}"), body)


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


def filled(doors: Doors) -> dict[str, str]:
    """Posts what is read; gives the ids that paths stand for."""
    for text in ("one", *AWKWARD_TEXTS, "last"):
        made = doors.by_server(Post(given(message=text, metadata={"a": [1, {"b": None}]})))
    deleted = doors.by_server(Post(HELLO)).body["id"]
    doors.by_server(Read(f"/api/messages/{deleted}", method="DELETE"))
    doors.by_server(Read("/api/threads", method="POST", body=given(id="empty")))
    doors.by_server(Read("/api/threads/streaming/messages:stream", method="POST"))
    # Answered by Redis alone, as by the lane.
    eventually(lambda: doors.by_server(READS["page"]).body["retrieval_source"] == "redis")
    return {"id": made.body["id"], "ID": made.body["id"].upper(), "deleted": deleted}


def test_a_read_is_answered_the_same_both_ways(doors: Doors) -> None:
    ids = filled(doors)
    for name, read in READS.items():
        path = read.path
        for key, value in ids.items():
            path = path.replace(f"{{{key}}}", value)
        # What a worker commits between two calls may change the later one.
        eventually(partial(is_read_the_same, doors, name, read._replace(path=path)))


def is_read_the_same(doors: Doors, name: str, read: Read) -> bool:
    server, alone = as_read(doors.by_server(read)), as_read(doors.alone(read))
    assert server == alone, name
    return True


def as_read(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """An answer to the byte, but for what it took and an id that was made for it."""
    content = LATENCY.sub(b"", answer.content)
    return (
        answer.status,
        same(answer).headers,
        content.replace(answer.headers["x-request-id"].encode(), b""),
    )
