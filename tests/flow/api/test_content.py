"""A text is called `message` or `content`, wherever a client sends one."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.calls.sockets import Socket, listening
from support.stack.processes import Launched

MESSAGES = "/api/threads/t/messages"
BOTH = {"message": "a", "content": "b"}


@pytest.fixture
def listener(stack: Launched, user_token: str) -> Iterator[Socket]:
    with listening(stack.env["WS_URL"], user_token) as connected:
        yield connected


def test_what_was_read_can_be_sent_back(api: Api) -> None:
    first = ok(api.post(MESSAGES, json={"message": "hello"}))
    again = ok(api.post(MESSAGES, json={"content": first["content"], "role": first["role"]}))
    assert again["content"] == "hello"
    # In the application, which answers what the write lane does not.
    committed = {"content": "waited", "durability": "committed"}
    assert ok(api.post(MESSAGES, json=committed))["content"] == "waited"


def test_an_edit_takes_either_name(api: Api) -> None:
    path = f"/api/messages/{api.send('t', 'first')['id']}"
    assert ok(api.patch(path, json={"content": "second"}))["content"] == "second"
    assert ok(api.patch(path, json={"message": "third"}))["content"] == "third"
    problem(api.patch(path, json=BOTH), 422, "invalid_body")
    assert ok(api.get(path))["content"] == "third"


def test_a_batch_takes_either_name(api: Api) -> None:
    items: list[dict[str, Any]] = [
        {"thread_id": "t", "content": "by content"},
        {"thread_id": "t", "message": "by message"},
        {"thread_id": "t", **BOTH},
        {"thread_id": "t"},
    ]
    results = ok(api.post("/api/messages:batch", json={"messages": items}))["results"]
    assert [one["status"] for one in results] == [200, 200, 422, 422]
    assert [one["message"]["content"] for one in results[:2]] == ["by content", "by message"]


def test_a_stream_takes_either_name(api: Api) -> None:
    opened = ok(api.post(f"{MESSAGES}:stream", json={"content": "so far"}), 201)
    assert opened["content"] == "so far"
    path = f"/api/messages/{opened['id']}/finish"
    problem(api.post(path, json={"content": None}), 422, "invalid_body")
    assert ok(api.post(path, json={"content": "whole"}))["content"] == "whole"


def test_a_frame_takes_either_name(listener: Socket, api: Api) -> None:
    listener.send_frame("send_message", thread_id="t", content="by content")
    confirmed = listener.receive_all(1)[0]
    assert ok(api.get(f"/api/messages/{confirmed['message_id']}"))["content"] == "by content"


@pytest.mark.parametrize(
    "body", [BOTH, {"message": None, "content": "b"}, {}, {"metadata": {"a": 1}}]
)
def test_a_post_has_one_text(api: Api, body: dict[str, Any]) -> None:
    for more in ({}, {"durability": "committed"}):
        found = problem(api.post(MESSAGES, json=body | more), 422, "invalid_body")
        assert "message" in found["detail"]
