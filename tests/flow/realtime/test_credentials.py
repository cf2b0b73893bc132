"""Sockets and event streams of API keys and of tokens that are revoked: whoever may not stay is
ended, with Redis or without."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
import requests
from websockets.typing import Subprotocol

from settings import Settings
from support.calls.api import Api, ok, problem
from support.calls.keys import made_key
from support.calls.sockets import Socket, listening, opened, streamed
from support.data.users import fresh_user
from support.stack.processes import Launched

REVOKED = (4401, "the token was revoked")


@pytest.fixture
def url(stack: Launched) -> str:
    return stack.env["WS_URL"]


@pytest.fixture
def events_url(api: Api) -> str:
    return str(ok(api.get("/api"))["events_url"])


def revoke(admin_api: Api, **body: Any) -> None:
    ok(admin_api.post("/api/admin/revocations", json=body), 201)


def jti_of(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


def has_ended(events: Iterator[dict[str, str]]) -> bool:
    """Whether an event stream ends, whatever comes before."""
    for _ in events:
        pass
    return True


def test_a_key_opens_a_socket_by_each_way(url: str, admin_api: Api) -> None:
    user = fresh_user()
    key = made_key(admin_api, "messages:read", "messages:write", user_id=user)["key"]
    with opened(url, key) as by_header:
        assert by_header.receive("authenticated")["user_id"] == user
        assert by_header.send("t", "hello")["thread_id"] == "t"
    with opened(url, subprotocols=[Subprotocol("bearer"), Subprotocol(key)]) as by_subprotocol:
        assert by_subprotocol.receive("authenticated")["user_id"] == user
    with opened(url) as by_frame:
        by_frame.send_frame("authenticate", token=key)
        assert by_frame.receive("authenticated")["user_id"] == user


def test_a_key_on_a_socket_does_what_its_scopes_are_for(url: str, admin_api: Api) -> None:
    user = fresh_user()
    reader = made_key(admin_api, "messages:read", user_id=user)["key"]
    writer = made_key(admin_api, "messages:write", user_id=user)["key"]
    with listening(url, reader) as socket:
        socket.send_frame("send_message", thread_id="t", message="x", client_ref="a")
        refused = socket.receive("error")
        assert (refused["code"], refused["client_ref"]) == ("insufficient_scope", "a")
        made = Api(admin_api.url, writer).send("t", "hello")
        assert socket.receive("message_received")["message_id"] == made["id"]
    with opened(url, writer) as socket:
        assert socket.closed_with() == (4401, "this key lacks the scope messages:read")
    with opened(url) as socket:
        socket.send_frame("authenticate", token=writer)
        assert socket.closed_with()[0] == 4401


def test_a_key_on_behalf_of_a_user_hears_that_user_and_nobody_else(
    url: str, admin_api: Api, api: Api, user: str
) -> None:
    scopes = ("messages:read", "messages:write", "on_behalf_of")
    key = made_key(admin_api, *scopes)["key"]
    own = Api(admin_api.url, key)
    with ExitStack() as held:
        named = {"headers": {"Threadkeep-User": user}}
        by_header = held.enter_context(opened(url, key, **named))
        assert by_header.receive("authenticated")["user_id"] == user
        by_frame = held.enter_context(opened(url))
        by_frame.send_frame("authenticate", token=key, on_behalf_of=user)
        assert by_frame.receive("authenticated")["user_id"] == user
        assert by_header.is_silent() and by_frame.is_silent()
        own.send("t", "of the key's own user")
        made = api.send("t", "of the user")
        for socket in (by_header, by_frame):
            assert socket.receive("message_received")["message_id"] == made["id"]
        # It stays that user's: the key's own is another one.
        by_frame.send_frame("authenticate", token=key, on_behalf_of=fresh_user())
        assert by_frame.receive_until("error")[-1]["code"] == "another_user"
        by_header.send_frame("send_message", thread_id="t", message="as the user")
        confirmed = by_header.receive_until("message_confirmed")[-1]
    assert ok(api.get(f"/api/messages/{confirmed['message_id']}"))["user_id"] == user


@pytest.mark.parametrize("way", ["header", "frame"])
def test_nobody_else_hears_on_behalf_of_a_user(
    url: str, admin_api: Api, user: str, user_token: str, way: str
) -> None:
    unable = made_key(admin_api, "messages:read", "messages:write")["key"]
    for credential in (unable, user_token):
        if way == "header":
            with opened(url, credential, headers={"Threadkeep-User": user}) as socket:
                assert socket.closed_with()[0] == 4401
        else:
            with opened(url) as socket:
                socket.send_frame("authenticate", token=credential, on_behalf_of=user)
                assert socket.closed_with()[0] == 4401


def test_an_event_stream_of_a_key(events_url: str, admin_api: Api, api: Api, user: str) -> None:
    agent = made_key(admin_api, "messages:read", "on_behalf_of")["key"]
    with streamed(events_url, agent, {"Threadkeep-User": user}) as events:
        made = api.send("t", "hello")
        heard = json.loads(next(events)["data"])
        assert (heard["message_id"], heard["user_id"]) == (made["id"], user)
    writer = made_key(admin_api, "messages:write")["key"]
    for key, headers, code in (
        (writer, {}, "insufficient_scope"),
        (writer, {"Threadkeep-User": user}, "insufficient_scope"),
    ):
        given = {"Authorization": f"Bearer {key}", **headers}
        problem(requests.get(events_url, headers=given, timeout=10), 403, code)


def test_what_a_revoked_token_holds_open_is_ended(
    url: str,
    events_url: str,
    admin_api: Api,
    token: Callable[..., str],
) -> None:
    user = fresh_user()
    gone, stays = token(user), token(user)
    with ExitStack() as held:
        ended = held.enter_context(listening(url, gone))
        # One that brought it later, in place of another one.
        renewed = held.enter_context(listening(url, stays))
        renewed.send_frame("authenticate", token=gone)
        renewed.receive("authenticated")
        replaced = held.enter_context(listening(url, gone))
        replaced.send_frame("authenticate", token=stays)
        replaced.receive("authenticated")
        kept = held.enter_context(listening(url, stays))
        events = held.enter_context(streamed(events_url, gone))
        revoke(admin_api, token_id=jti_of(gone))
        assert ended.closed_with(5) == REVOKED
        assert renewed.closed_with(5) == REVOKED
        assert has_ended(events)
        assert kept.is_silent() and replaced.is_silent()
        with opened(url, gone) as again:
            assert again.closed_with(5)[0] == 4401
        revoke(admin_api, user_id=user, before="2100-01-01T00:00:00Z")
        assert kept.closed_with(5) == REVOKED
        assert replaced.closed_with(5) == REVOKED


def test_what_a_revoked_key_holds_open_is_ended(
    url: str, events_url: str, admin_api: Api, user: str
) -> None:
    gone = made_key(admin_api, "messages:read", "on_behalf_of")
    stays = made_key(admin_api, "messages:read")
    named = {"Threadkeep-User": user}
    with ExitStack() as held:
        ended: list[Socket] = [
            held.enter_context(listening(url, gone["key"])),
            held.enter_context(listening(url, gone["key"], headers=named)),
        ]
        kept = held.enter_context(listening(url, stays["key"]))
        events = held.enter_context(streamed(events_url, gone["key"], named))
        ok(admin_api.delete(f"/api/admin/keys/{gone['id']}"))
        for socket in ended:
            assert socket.closed_with(5) == REVOKED
        assert has_ended(events)
        assert kept.is_silent()


def test_a_token_without_a_name_is_revoked_with_its_user(
    url: str, admin_api: Api, settings: Settings
) -> None:
    user = fresh_user()
    claims = {"sub": user, "exp": 9_999_999_999}
    bare = jwt.encode(claims, settings.jwt_secrets[0], algorithm="HS256")
    with listening(url, bare) as socket:
        revoke(admin_api, user_id=user)
        assert socket.closed_with(5) == REVOKED
