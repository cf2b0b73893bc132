"""A key stands for one message: with another text, role or metadata it is refused, at every door,
and what it stands for stays as it is."""

from collections.abc import Callable
from typing import Any

import pytest

from support.calls.api import Api, ok
from support.calls.sockets import listening
from support.stack.processes import Launched
from support.waiting import eventually

BODY: dict[str, Any] = {"message": "once", "role": "agent", "metadata": {"n": 1}}
OTHERS = [{"message": "twice"}, {"role": "user"}, {"metadata": {"n": 2}}, {"metadata": {}}]
Door = Callable[[dict[str, Any]], tuple[str, str]]
"""Posts with the key; gives the id of the message and the code of the error, one of them empty."""


def told(reply: dict[str, Any]) -> tuple[str, str]:
    return reply.get("id") or reply.get("message_id", ""), reply.get("code", "")


@pytest.fixture
def doors(api: Api, user_token: str, stack: Launched) -> dict[str, Door]:
    headers = {"Idempotency-Key": "k"}

    def post(body: dict[str, Any]) -> tuple[str, str]:
        return told(api.post("/api/threads/t/messages", json=body, headers=headers).json())

    def batch(body: dict[str, Any]) -> tuple[str, str]:
        item = {"thread_id": "t", "idempotency_key": "k", **body}
        (result,) = ok(api.post("/api/messages:batch", json={"messages": [item]}))["results"]
        return told(result.get("message", result))

    def socket(body: dict[str, Any]) -> tuple[str, str]:
        with listening(stack.env["WS_URL"], user_token) as link:
            link.send_frame("send_message", thread_id="t", idempotency_key="k", **body)
            return told(link.receive("message_confirmed", "error"))

    return {
        "lane": post,
        "application": lambda body: post({**body, "durability": "committed"}),
        "batch": batch,
        "socket": socket,
    }


@pytest.mark.parametrize("first", ["lane", "application", "batch", "socket"])
def test_another_message_under_the_key_is_refused_at_every_door(
    api: Api, doors: dict[str, Door], first: str
) -> None:
    made, _ = doors[first](BODY)
    for name, door in doors.items():
        for other in OTHERS:
            assert door({**BODY, **other}) == ("", "idempotency_key_reused"), (name, other)
        assert door(BODY) == (made, ""), name
    (kept,) = api.page("t")["messages"]
    assert (kept["id"], kept["content"], kept["version"]) == (made, "once", 1)


def test_it_is_refused_after_an_edit_too(api: Api, doors: dict[str, Door]) -> None:
    made, _ = doors["lane"](BODY)
    ok(api.patch(f"/api/messages/{made}", json={"message": "edited"}))
    eventually(lambda: is_committed(api, made))
    for name, door in doors.items():
        assert door({**BODY, "message": "edited"}) == ("", "idempotency_key_reused"), name
        assert door(BODY) == (made, ""), name
    assert api.page("t")["messages"][0]["content"] == "edited"


def is_committed(api: Api, message_id: str) -> bool:
    """Whether PostgreSQL has it, from where every process knows what its first version said."""
    return bool(api.receipt(message_id)["tiers"]["postgresql"]["present"])


def test_two_messages_of_one_batch_under_one_key_are_one_and_a_refusal(api: Api) -> None:
    items = [{"thread_id": "t", "idempotency_key": "k", "message": text} for text in ("a", "b")]
    first, second = ok(api.post("/api/messages:batch", json={"messages": items}))["results"]
    assert first["status"] == 200
    assert (second["status"], second["code"]) == (422, "idempotency_key_reused")
    assert [one["content"] for one in api.page("t")["messages"]] == ["a"]


def test_a_batch_with_a_key_is_the_same_batch_or_refused_where_it_is_not(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    items = [{"thread_id": "t", "message": text} for text in ("a", "b")]
    ok(api.post("/api/messages:batch", json={"messages": items}, headers=headers))
    items[1]["message"] = "c"
    again = ok(api.post("/api/messages:batch", json={"messages": items}, headers=headers))
    assert [one["status"] for one in again["results"]] == [200, 422]
    assert again["results"][1]["code"] == "idempotency_key_reused"
    assert [one["content"] for one in api.page("t", order="asc")["messages"]] == ["a", "b"]


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_stream_is_opened_again_by_the_same_opening_alone(api: Api, is_finished: bool) -> None:
    def opened(**body: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": "k"}
        return api.post("/api/threads/t/messages:stream", json=body, headers=headers).json()

    made = opened(message="so far")["id"]
    if is_finished:
        ok(api.post(f"/api/messages/{made}/finish", json={"message": "all of it"}))
        eventually(lambda: is_committed(api, made))
    for other in ({"message": "another"}, {"message": "so far", "role": "tool"}, {}):
        assert opened(**other)["code"] == "idempotency_key_reused"
    assert opened(message="so far")["id"] == made
