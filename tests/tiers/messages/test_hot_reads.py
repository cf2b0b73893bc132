"""Usual reads are answered by Redis alone, those of the same moment together; whatever is unusual
is left to the application."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from models import codec
from models.message import Message
from models.streams import marked
from storage.availability.lease import UNKNOWN, Completeness
from storage.redis import keys
from support.calls.counting import CallCounter
from support.calls.lanes import LaneRequest, Lanes
from support.data.thread_lists import begin_whole, post
from support.faults.outages import without
from support.waiting import eventually
from webapp.limits.limits import TAKEN
from wiring.process import Services

pytestmark = pytest.mark.usefixtures("steady_lease")

UNUSUAL = {"if-none-match": '"1"'}
PAGE = "/api/threads/t/messages"
MOST_CALLS = {"/api/messages/{id}": 250, PAGE: 380}


@pytest.fixture
def lanes(alone: Services) -> Lanes:
    begin_whole(alone)
    own = Lanes(alone)
    eventually(lambda: own.services.failover.lease.current().redis_complete)
    return own


@pytest.fixture
def made(alone: Services, user: str, lanes: Lanes) -> Message:
    """The newest of two messages of a thread of which Redis knows all."""
    post(alone, user, "t", "first")
    newest = post(alone, user, "t", "hello")
    alone.failover.retrieval.page(user, "t", limit=100, cursor=None, order="desc")
    return newest


def body(request: LaneRequest) -> dict[str, Any]:
    status, _, content = request.answer()
    assert status == 200
    found: dict[str, Any] = json.loads(content)
    return found


def key_of(own: Services, message: Message) -> str:
    return keys.message(own.tiers.redis.slot_of_message(message.id), message.id)


def taken(lanes: Lanes, request: LaneRequest) -> LaneRequest:
    assert lanes.takes_read(request)
    return request


def is_given_on(lanes: Lanes, request: LaneRequest) -> bool:
    """Whether the application has to answer a request that the lane took."""
    taken(lanes, request)
    given, content, more = lanes.given.get(timeout=20)
    return (given, content, list(more)) == (request, b"", [TAKEN])


def test_a_message_is_answered_as_it_is_stored(lanes: Lanes, user: str, made: Message) -> None:
    request = taken(lanes, lanes.read(user, f"/api/messages/{made.id}"))
    status, headers, content = request.answer()
    assert (status, headers["ETag"], headers["Cache-Control"]) == (200, '"1"', "no-store")
    assert content.startswith(codec.encode(made)[:-1] + b',"retrieval_source":"redis","latency_ms"')


def test_a_page_is_answered_as_it_is_stored(lanes: Lanes, user: str, made: Message) -> None:
    page = body(taken(lanes, lanes.read(user, f"{PAGE}?limit=1")))
    assert page["messages"] == [msgspec.to_builtins(made)]
    assert (page["next_cursor"], page["retrieval_source"]) == (made.id, "redis")
    whole = body(taken(lanes, lanes.read(user, PAGE)))
    assert [one["content"] for one in whole["messages"]] == ["hello", "first"]
    assert whole["next_cursor"] is None


def test_a_list_is_answered(lanes: Lanes, user: str, made: Message) -> None:
    listed = body(taken(lanes, lanes.read(user, "/api/threads?limit=3")))
    (thread,) = listed["threads"]
    assert (thread["id"], thread["last_message_preview"]) == ("t", "hello")


def test_reads_of_the_same_moment_are_each_their_own(
    lanes: Lanes, alone: Services, user: str, made: Message
) -> None:
    others = {f"{user}-{number}": f"text {number}" for number in range(40)}
    for name, text in others.items():
        post(alone, name, "t", "first")
        post(alone, name, "t", text)
    asked = [(name, taken(lanes, lanes.read(name, f"{PAGE}?limit=1"))) for name in others]
    pages = {name: body(request)["messages"] for name, request in asked}
    assert {name: page[0]["content"] for name, page in pages.items()} == others
    ids = {name: page[0]["id"] for name, page in pages.items()}
    asked = [(n, taken(lanes, lanes.read(n, f"/api/messages/{ids[n]}"))) for n in others]
    assert {name: body(request)["content"] for name, request in asked} == others


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (PAGE, {"method": "HEAD"}),
        (PAGE, {"method": "POST"}),
        (f"{PAGE}/", {}),
        (f"{PAGE}?order=asc", {}),
        (f"{PAGE}?limit=0", {}),
        (f"{PAGE}?limit=1001", {}),
        (f"{PAGE}?limit=050", {}),
        (f"{PAGE}?limit=5&limit=5", {}),
        ("/api/threads/a b/messages", {}),
        ("/api/threads?is_archived=true", {}),
        ("/api/threads/t", {}),
        ("/api/messages/{id}?limit=1", {}),
        ("/api/messages/{id}/receipt", {}),
        ("/api/messages/" + "-" * 36, {}),
        ("/api/search?q=hello", {}),
    ],
)
def test_unusual_reads_are_left_to_the_application(
    lanes: Lanes, user: str, made: Message, path: str, change: dict[str, str]
) -> None:
    assert not lanes.takes_read(lanes.read(user, path.replace("{id}", made.id), **change))


@pytest.mark.parametrize("path", [PAGE, "/api/threads", "/api/messages/{id}"])
def test_conditions_and_wrong_tokens_are_left_to_the_application(
    lanes: Lanes, user: str, made: Message, path: str
) -> None:
    path = path.replace("{id}", made.id)
    assert not lanes.takes_read(lanes.read(user, path, UNUSUAL))
    assert not lanes.takes_read(lanes.read(user, path, {"authorization": "Bearer x.y.z"}))
    lanes.services.tiers.breakers.redis.open("a test")
    assert not lanes.takes_read(lanes.read(user, path))
    eventually(lambda: lanes.services.tiers.breakers.redis.is_closed)


def _deleted(own: Services, user: str, made: Message) -> None:
    own.messages.delete(user, made.id, if_version=None)


def _thread_deleted(own: Services, user: str, made: Message) -> None:
    own.threads.delete(user, made.thread_id)


def _evicted(own: Services, user: str, made: Message) -> None:
    own.tiers.redis_client.delete(key_of(own, made))


def _damaged(own: Services, user: str, made: Message) -> None:
    other = codec.encode(made).replace(b"hello", b"hullo")
    own.tiers.redis_client.set(key_of(own, made), other)


def _no_record(own: Services, user: str, made: Message) -> None:
    own.tiers.redis_client.set(key_of(own, made), b"no record")


def _streaming(own: Services, user: str, made: Message) -> None:
    opened = msgspec.structs.replace(made, metadata=marked({}, "open"))
    own.tiers.redis_client.set(key_of(own, made), codec.encode(codec.seal(opened)))


@pytest.mark.parametrize(
    "change", [_deleted, _thread_deleted, _evicted, _damaged, _no_record, _streaming]
)
def test_a_message_that_is_not_plain_is_given_on(
    lanes: Lanes,
    alone: Services,
    user: str,
    made: Message,
    change: Callable[[Services, str, Message], None],
) -> None:
    change(alone, user, made)
    assert is_given_on(lanes, lanes.read(user, f"/api/messages/{made.id}"))


@pytest.mark.parametrize("change", [_thread_deleted, _evicted, _no_record, _streaming])
def test_a_page_that_is_not_plain_is_given_on(
    lanes: Lanes,
    alone: Services,
    user: str,
    made: Message,
    change: Callable[[Services, str, Message], None],
) -> None:
    change(alone, user, made)
    assert is_given_on(lanes, lanes.read(user, PAGE))


def test_what_is_not_the_callers_is_given_on(lanes: Lanes, user: str, made: Message) -> None:
    assert is_given_on(lanes, lanes.read(f"{user}-other", f"/api/messages/{made.id}"))
    assert is_given_on(lanes, lanes.read(f"{user}-other", PAGE))


def test_what_redis_may_lack_is_given_on(
    lanes: Lanes, alone: Services, user: str, made: Message
) -> None:
    alone.tiers.redis_repair.invalidate_indexes([(user, "t")])
    assert is_given_on(lanes, lanes.read(user, PAGE))
    lanes.services.failover.lease.current = _unknown  # type: ignore[method-assign]
    assert is_given_on(lanes, lanes.read(user, f"/api/messages/{made.id}"))


def _unknown(*, wait: bool = True) -> Completeness:
    return UNKNOWN


def test_without_redis_reads_are_given_on(alone: Services, user: str) -> None:
    lanes = Lanes(without(alone, "redis"))
    assert is_given_on(lanes, lanes.read(user, PAGE))


@pytest.mark.parametrize("path", MOST_CALLS)
def test_a_read_makes_few_calls(alone: Services, user: str, made: Message, path: str) -> None:
    thread = "redis-page-small" if path == PAGE else "redis-message-small"
    with CallCounter() as calls:
        lanes = Lanes(alone)
        eventually(lambda: lanes.services.failover.lease.current().redis_complete)
        # A process makes some things on first use.
        for _ in range(20):
            taken(lanes, lanes.read(user, path.replace("{id}", made.id))).answer()
        request = lanes.read(user, path.replace("{id}", made.id))
        calls.begin_own()
        lanes.takes_read(request)
        calls.end_own()
        request.answer()
        calls.is_counting = False
    assert 100 < calls.of(thread) <= MOST_CALLS[path], calls.counts
