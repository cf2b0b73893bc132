"""Frames on a WebSocket: the sender's first, then those of the user's other sockets."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from models import ids
from support.calls.api import Api, ok
from support.calls.sockets import Socket, listening
from support.data.samples import AWKWARD_TEXTS
from support.data.users import fresh_user
from support.stack.processes import Launched

Opener = Callable[..., Socket]


@pytest.fixture
def url(stack: Launched) -> str:
    return stack.env["WS_URL"]


@pytest.fixture
def open_socket(url: str, user_token: str) -> Iterator[Opener]:
    """Opens a live socket of `user`, or of the token's user."""
    with ExitStack() as cleanup:
        yield lambda token=user_token: cleanup.enter_context(listening(url, token))


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_the_sender_is_confirmed_first_and_then_told_of_the_commit(
    open_socket: Opener, api: Api, user: str
) -> None:
    sender = open_socket()
    sender.send_frame(
        "send_message", thread_id="t", message="hello", role="agent", client_ref="mine"
    )
    confirmed, persisted = sender.receive_all(2)
    message_id = confirmed["message_id"]
    assert ids.is_id(message_id)
    assert {name: confirmed[name] for name in ("type", "thread_id", "tier_used", "client_ref")} == {
        "type": "message_confirmed",
        "thread_id": "t",
        "tier_used": "redis",
        "client_ref": "mine",
    }
    assert (confirmed["durability"], confirmed["version"]) == ("fsynced", 1)
    assert confirmed["created_at"] == ids.timestamp(ids.time_us_of(message_id))
    assert not {"repeated", "warning", "failover_reason"} & set(confirmed)
    assert persisted["type"] == "message_persisted"
    assert (persisted["message_id"], persisted["thread_id"]) == (message_id, "t")
    assert persisted["tier_used"] == "postgresql"
    assert confirmed["event_id"] != persisted["event_id"]
    found = ok(api.get(f"/api/messages/{message_id}"))
    assert (found["content"], found["role"], found["user_id"]) == ("hello", "agent", user)
    # The sender does not receive its own message again.
    assert sender.is_silent()


def test_other_sockets_of_the_user_are_told_of_it_whole(
    open_socket: Opener, api: Api, user: str
) -> None:
    sender, other = open_socket(), open_socket()
    confirmed = sender.send("t", "hello", metadata={"a": [1, None]})
    received, persisted = other.receive_all(2)
    assert kinds([received, persisted]) == ["message_received", "message_persisted"]
    assert received["message_id"] == persisted["message_id"] == confirmed["message_id"]
    assert (received["user_id"], received["thread_id"]) == (user, "t")
    assert received["status"] == "processing"
    assert received["timestamp"]
    shown = ok(api.get(f"/api/messages/{confirmed['message_id']}"))
    assert received["message"] == {name: shown[name] for name in received["message"]}
    assert received["message"]["metadata"] == {"a": [1, None]}


def test_many_at_once_are_each_confirmed_before_anything_else_of_them(
    open_socket: Opener,
) -> None:
    sender, other = open_socket(), open_socket()
    for number in range(100):
        sender.send_frame("send_message", thread_id="t", message=str(number), client_ref=number)
    frames = sender.receive_all(200)
    confirmed = [frame for frame in frames if frame["type"] == "message_confirmed"]
    assert [frame["client_ref"] for frame in confirmed] == list(range(100))
    first = {}
    for frame in frames:
        first.setdefault(frame["message_id"], frame["type"])
    assert set(first.values()) == {"message_confirmed"}
    assert sorted(kinds(frames)) == ["message_confirmed"] * 100 + ["message_persisted"] * 100
    assert len({frame["event_id"] for frame in frames}) == 200
    heard = other.receive_all(200)
    received = [frame for frame in heard if frame["type"] == "message_received"]
    assert [frame["message"]["content"] for frame in received] == [str(n) for n in range(100)]
    assert [frame["message_id"] for frame in received] == [f["message_id"] for f in confirmed]


def test_what_is_posted_edited_and_deleted_over_http_is_told(open_socket: Opener, api: Api) -> None:
    socket = open_socket()
    made = api.send("t", "hello")
    assert kinds(socket.receive_until("message_persisted")) == [
        "message_received",
        "message_persisted",
    ]
    path = f"/api/messages/{made['id']}"
    ok(api.patch(path, json={"message": "better"}))
    updated, persisted = socket.receive_all(2)
    assert (updated["type"], updated["version"]) == ("message_updated", 2)
    assert updated["message"]["content"] == "better"
    assert (persisted["type"], persisted["version"]) == ("message_persisted", 2)
    ok(api.delete(path))
    deleted = socket.receive("message_deleted")
    assert (deleted["message_id"], deleted["thread_id"], deleted["version"]) == (
        made["id"],
        "t",
        3,
    )
    assert "better" not in json.dumps(deleted)


def test_what_is_streamed_is_told_as_it_comes(open_socket: Opener, api: Api) -> None:
    socket = open_socket()
    message_id = ok(api.post("/api/threads/t/messages:stream", json={}), 201)["id"]
    for offset, part in ((0, "It is "), (6, "noon.")):
        body = {"text": part, "offset": offset}
        ok(api.post(f"/api/messages/{message_id}/chunks", json=body))
    ok(api.post(f"/api/messages/{message_id}/finish"))
    frames = socket.receive_until("message_updated")
    chunks = [frame for frame in frames if frame["type"] == "message_chunk"]
    assert [(one["offset"], one["text"]) for one in chunks] == [(0, "It is "), (6, "noon.")]
    assert {(one["message_id"], one["thread_id"]) for one in chunks} == {(message_id, "t")}
    assert all(one["event_id"] for one in chunks)
    assert frames[-1]["message"]["content"] == "It is noon."


def test_changes_of_threads_are_told(open_socket: Opener, api: Api) -> None:
    socket = open_socket()
    ok(api.post("/api/threads", json={"id": "t", "title": "one"}), 201)
    created = socket.receive("thread_updated")
    assert (created["thread_id"], created["thread"]["title"]) == ("t", "one")
    ok(api.patch("/api/threads/t", json={"title": "two"}))
    assert socket.receive("thread_updated")["thread"]["title"] == "two"
    assert api.delete("/api/threads/t").status_code == 204
    assert socket.receive("thread_updated")["thread"]["deleted_at"]


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_text_comes_out_as_it_went_in(open_socket: Opener, api: Api, text: str) -> None:
    sender, other = open_socket(), open_socket()
    confirmed = sender.send("t", text)
    assert other.receive("message_received")["message"]["content"] == text
    assert ok(api.get(f"/api/messages/{confirmed['message_id']}"))["content"] == text


def test_a_subscription_narrows_to_threads(open_socket: Opener, api: Api) -> None:
    socket = open_socket()
    socket.send_frame("subscribe", thread_ids=["a"], client_ref=1)
    subscribed = socket.receive("subscribed")
    assert (subscribed["thread_ids"], subscribed["client_ref"]) == (["a"], 1)
    api.send("b", "not this")
    made = api.send("a", "this")
    assert {frame["message_id"] for frame in socket.receive_all(2)} == {made["id"]}
    # A sender is confirmed in whichever thread it writes.
    assert socket.send("b", "mine")["thread_id"] == "b"
    socket.send_frame("subscribe")
    socket.receive("subscribed")
    assert api.send("b", "and this")["id"] in {
        frame["message_id"] for frame in socket.receive_until("message_received")
    }


def test_a_repeated_key_gives_the_first_message(open_socket: Opener) -> None:
    sender = open_socket()
    first = sender.send("t", "hello", idempotency_key="k")
    sender.receive("message_persisted")
    again = sender.send("t", "hello", idempotency_key="k")
    assert again["message_id"] == first["message_id"]
    assert again["repeated"] is True
    sender.send_frame("send_message", thread_id="t", message="other", idempotency_key="k")
    assert sender.receive("error")["code"] == "idempotency_key_reused"
    assert sender.is_silent()


def test_nobody_hears_what_is_somebody_elses(
    open_socket: Opener, token: Callable[..., str], api: Api
) -> None:
    stranger = open_socket(token(fresh_user()))
    stranger.send_frame("subscribe", thread_ids=["t"])
    stranger.receive("subscribed")
    own = open_socket()
    api.send("t", "secret")
    received = own.receive("message_received")
    own.receive("message_persisted")
    assert stranger.is_silent()
    # Not even with the id of an event.
    stranger.send_frame("subscribe", last_event_id=received["event_id"])
    assert kinds(stranger.receive_all(2)) == ["subscribed", "reset"]
    assert stranger.is_silent()


def test_a_batch_is_told_in_its_order(open_socket: Opener, api: Api) -> None:
    socket = open_socket()
    made = api.send_many("t", 300)
    frames = socket.receive_all(600)
    received = [frame["message_id"] for frame in frames if frame["type"] == "message_received"]
    assert received == [one["id"] for one in made]
