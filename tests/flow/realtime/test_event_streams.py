"""The event stream: the same events as on a socket, for clients that only listen."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from settings import Settings
from support.calls.api import Api, ok, problem
from support.calls.sockets import streamed
from support.data.users import fresh_user
from support.stack.processes import Launched
from webapp.http.auth import Tokens

Events = Iterator[dict[str, str]]


@pytest.fixture
def url(api: Api) -> str:
    return str(ok(api.get("/api"))["events_url"])


@pytest.fixture
def listener(url: str, user_token: str) -> Api:
    """The realtime process as `user`."""
    return Api(url, user_token)


def read(events: Events, count: int) -> list[dict[str, Any]]:
    """The next events; the fields of each must match its data."""
    found = [next(events) for _ in range(count)]
    frames = [json.loads(event["data"]) for event in found]
    assert [(event["event"], event["id"]) for event in found] == [
        (frame["type"], frame["event_id"]) for frame in frames
    ]
    return frames


def test_what_happens_is_told(url: str, user_token: str, api: Api) -> None:
    with streamed(url, user_token) as events:
        made = api.send("t", "two\nlines, \r\n and \u2028 more")
        received, persisted = read(events, 2)
        assert received["message"]["content"] == "two\nlines, \r\n and \u2028 more"
        assert (received["type"], persisted["type"]) == ("message_received", "message_persisted")
        assert received["message_id"] == persisted["message_id"] == made["id"]


def test_it_goes_on_behind_the_last_event(url: str, user_token: str, api: Api) -> None:
    with streamed(url, user_token) as events:
        api.send("t", "known")
        last = read(events, 2)[-1]["event_id"]
    missed = api.send_many("t", 120)
    with streamed(url, user_token, {"Last-Event-ID": last}) as events:
        later = api.send("t", "later")
        frames = read(events, 2 * 121)
    received = [frame["message_id"] for frame in frames if frame["type"] == "message_received"]
    assert received == [*(one["id"] for one in missed), later["id"]]
    assert len({frame["event_id"] for frame in frames}) == len(frames)


def test_a_place_that_is_gone_is_a_reset(url: str, user_token: str, api: Api) -> None:
    for unknown in ("1-1", "nonsense", "1-1~3"):
        with streamed(url, user_token, {"Last-Event-ID": unknown}) as events:
            assert read(events, 1)[0]["type"] == "reset"
            made = api.send("t", "after")
            assert {frame["message_id"] for frame in read(events, 2)} == {made["id"]}


def test_it_narrows_to_threads(url: str, user_token: str, api: Api) -> None:
    with streamed(url, user_token, thread_id=["a", "b"]) as events:
        api.send("c", "not this")
        made = [api.send("a", "this"), api.send("b", "and this")]
        assert {frame["message_id"] for frame in read(events, 4)} == {one["id"] for one in made}


def test_a_stranger_hears_nothing(url: str, user_token: str, api: Api, settings: Settings) -> None:
    stranger = fresh_user()
    token = Tokens(settings).issue(stranger, is_admin=False, ttl_seconds=60)
    theirs = Api(api.url, token)
    with streamed(url, user_token) as own, streamed(url, token, thread_id="t") as events:
        secret = api.send("t", "secret")
        known = read(own, 2)[-1]["event_id"]
        mine = theirs.send("t", "mine")
        assert read(events, 1)[0]["message_id"] == mine["id"] != secret["id"]
    with streamed(url, token, {"Last-Event-ID": known}) as events:
        assert read(events, 1)[0]["type"] == "reset"


def test_it_ends_with_its_token(url: str, user: str, settings: Settings) -> None:
    ttl_seconds = 4 - int(settings.jwt_leeway_seconds)
    short = Tokens(settings).issue(user, is_admin=False, ttl_seconds=ttl_seconds)
    with streamed(url, short) as events:
        assert list(events) == []


def test_who_may_not_listen_is_told_why(listener: Api, url: str) -> None:
    problem(requests.get(url, timeout=10), 401, "invalid_token")
    problem(Api(url, "nonsense").get(""), 401, "invalid_token")
    problem(listener.get("", params={"thread_id": "t/t"}), 422, "thread_id_invalid")
    told = problem(listener.get("", params={"lastEventId": "1-1"}), 422, "unknown_parameter")
    assert "thread_id" in told["detail"]
    known = listener.get("", headers={"If-None-Match": '"1"'})
    problem(known, 400, "condition_unsupported")
    problem(listener.get("", headers={"Origin": "https://evil.example"}), 403, "foreign_origin")


def test_pages_of_the_api_may_listen(
    listener: Api, url: str, user_token: str, stack: Launched
) -> None:
    origin = {"Origin": stack.url}
    asked = {"Access-Control-Request-Headers": "authorization"}
    preflight = requests.options(url, headers=origin | asked, timeout=10)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == stack.url
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    with listener.get("", headers=origin, stream=True) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] == stack.url
    foreign = requests.options(url, headers={"Origin": "https://evil.example"}, timeout=10)
    problem(foreign, 403, "foreign_origin")
