"""Resuming after a disconnect: missed events come in order and once, or the client gets a reset."""

from collections.abc import Callable
from typing import Any

import pytest

from storage.redis import keys
from support.calls.api import Api
from support.calls.sockets import Socket, listening, opened
from support.stack.processes import Launched
from wiring.process import Services

MISSED = 120


@pytest.fixture
def url(stack: Launched) -> str:
    return stack.env["WS_URL"]


def received(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["message_id"] for frame in frames if frame["type"] == "message_received"]


def resumed(socket: Socket, last_event_id: str, **fields: Any) -> dict[str, Any]:
    """Sends `subscribe` with a cursor as the first frame."""
    socket.receive("authenticated")
    socket.send_frame("subscribe", last_event_id=last_event_id, **fields)
    return socket.receive("subscribed")


def test_what_was_missed_is_told_and_then_what_comes(url: str, user_token: str, api: Api) -> None:
    with listening(url, user_token) as socket:
        known = api.send("t", "known")
        last = socket.receive_until("message_persisted")[-1]
    missed = api.send_many("t", MISSED)
    with opened(url, user_token) as socket:
        resumed(socket, last["event_id"])
        later = api.send_many("t", 5)
        frames = socket.receive_all(2 * (MISSED + 5))
        assert received(frames) == [one["id"] for one in [*missed, *later]]
        assert known["id"] not in {frame["message_id"] for frame in frames}
        assert len({frame["event_id"] for frame in frames}) == len(frames)
        assert socket.is_silent()


def test_any_frame_that_has_an_event_id_can_be_gone_on_from(
    url: str, user_token: str, api: Api
) -> None:
    with opened(url, user_token) as socket:
        at_first = socket.receive("authenticated")["event_id"]
        confirmed = socket.send("t", "one")
    made = api.send("t", "two")
    for event_id in (at_first, confirmed["event_id"]):
        with opened(url, user_token) as socket:
            resumed(socket, event_id)
            # Another socket than the sender's receives it.
            heard = socket.receive_all(4)
            assert received(heard) == [confirmed["message_id"], made["id"]]
            assert socket.is_silent()


def test_a_narrowed_socket_misses_nothing_of_its_threads(
    url: str, user_token: str, api: Api
) -> None:
    with listening(url, user_token) as socket:
        api.send("a", "known")
        last = socket.receive_until("message_persisted")[-1]
    for thread_id in ("a", "b"):
        api.send(thread_id, "missed")
    with opened(url, user_token) as socket:
        resumed(socket, last["event_id"], thread_ids=["a"])
        assert {frame["thread_id"] for frame in socket.receive_all(2)} == {"a"}
        assert socket.is_silent()


def test_a_live_socket_may_go_back(url: str, user_token: str, api: Api) -> None:
    with listening(url, user_token) as socket:
        api.send("t", "one")
        first, _ = socket.receive_all(2)
        made = api.send("t", "two")
        socket.receive_all(2)
        socket.send_frame("subscribe", last_event_id=first["event_id"])
        socket.receive("subscribed")
        assert received(socket.receive_all(3)) == [made["id"]]
        assert socket.is_silent()


@pytest.mark.parametrize(
    "unknown", ["1-1", "9999999999999-0", "1763726692123-0~4", "nonsense", "", "0-0.1"]
)
def test_a_place_that_is_not_known_is_a_reset(
    url: str, user_token: str, api: Api, unknown: str
) -> None:
    with opened(url, user_token) as socket:
        resumed(socket, unknown)
        reset = socket.receive("reset")
        assert "HTTP" in reset["detail"]
        made = api.send("t", "after")
        assert socket.receive("message_received")["message_id"] == made["id"]
    with opened(url, user_token) as socket:
        resumed(socket, reset["event_id"])
        assert received(socket.receive_until("message_received")) == [made["id"]]


def test_a_stream_that_is_lost_is_a_reset_and_goes_on(
    url: str, user_token: str, user: str, api: Api, services: Services
) -> None:
    with listening(url, user_token) as one, listening(url, user_token) as other:
        services.tiers.redis_client.delete(keys.events(user))
        assert {socket.receive()["type"] for socket in (one, other)} == {"reset"}
        made = api.send("t", "after")
        for socket in (one, other):
            assert socket.receive("message_received")["message_id"] == made["id"]


def test_a_stream_that_is_lost_and_made_again_is_a_reset(
    url: str, user_token: str, user: str, api: Api, services: Services
) -> None:
    with listening(url, user_token) as socket:
        services.tiers.redis_client.delete(keys.events(user))
        # Another process opens it before this one has read.
        services.tiers.events.open([user])
        api.send("t", "after")
        assert socket.receive()["type"] == "reset"


def test_what_comes_during_a_replay_is_told_after_it(
    url: str, user_token: str, api: Api, token: Callable[..., str]
) -> None:
    with opened(url, user_token) as socket:
        place = socket.receive("authenticated")["event_id"]
    api.send_many("t", 300)
    with opened(url, user_token) as socket:
        socket.receive("authenticated")
        socket.send_frame("subscribe", last_event_id=place)
        socket.send_frame("send_message", thread_id="t", message="in between")
        frames = [frame for frame in socket.receive_all(603) if frame["type"] != "subscribed"]
    confirmed = next(frame for frame in frames if frame["type"] == "message_confirmed")
    mine = [frame["type"] for frame in frames if frame["message_id"] == confirmed["message_id"]]
    assert mine == ["message_confirmed", "message_persisted"]
    others = received(frames)
    assert others == sorted(set(others))
    assert len(others) == 300
