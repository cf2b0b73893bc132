"""Batches: one acknowledgement, and a result for each item."""

from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.data.moving import wait_until

BATCH = "/api/messages:batch"


def items(count: int, thread_id: str = "t") -> list[dict[str, Any]]:
    return [{"thread_id": thread_id, "message": f"message {number}"} for number in range(count)]


def test_every_item_has_its_result_in_order(api: Api) -> None:
    reply = ok(api.post(BATCH, json={"messages": items(3, "a") + items(2, "b")}))
    assert (reply["accepted"], reply["refused"]) == (5, 0)
    assert (reply["tier_used"], reply["durability"]) == ("redis", "fsynced")
    texts = [(one["message"]["thread_id"], one["message"]["content"]) for one in reply["results"]]
    assert texts == [("a", f"message {n}") for n in range(3)] + [
        ("b", f"message {n}") for n in range(2)
    ]
    assert [one["content"] for one in api.page("a", order="asc")["messages"]] == [
        f"message {n}" for n in range(3)
    ]


def test_a_thousand_messages_are_one_batch_and_1001_are_none(api: Api) -> None:
    reply = ok(api.post(BATCH, json={"messages": items(1000)}))
    assert reply["accepted"] == 1000
    problem(api.post(BATCH, json={"messages": items(1001, "u")}), 422, "invalid_body")
    problem(api.post(BATCH, json={"messages": []}), 422, "invalid_body")
    problem(api.get("/api/threads/u/messages"), 404, "not_found")
    found, _ = api.walk("t", order="asc", limit=1000)
    assert [one["content"] for one in found] == [f"message {n}" for n in range(1000)]


def test_a_repeated_batch_gives_the_same_messages(api: Api) -> None:
    def send(*given: dict[str, Any]) -> dict[str, Any]:
        reply = api.post(BATCH, json={"messages": given}, headers={"Idempotency-Key": "b"})
        return {**ok(reply), "replayed": reply.headers.get("Idempotency-Replayed", "false")}

    one, two = items(2, "a")
    same = {"thread_id": "b", "message": "twice", "idempotency_key": "its own"}
    first, again = send(one, two, same), send(one, two, same)
    names = [[each["message"]["id"] for each in reply["results"]] for reply in (first, again)]
    assert names[0] == names[1]
    assert (first["replayed"], again["replayed"]) == ("false", "true")
    assert all(each["repeated"] for each in again["results"])
    # What is another message under the same key says so, for itself.
    other = send(one, {**two, "message": "another"})
    assert (other["accepted"], other["refused"]) == (1, 1)
    assert other["results"][1]["code"] == "idempotency_key_reused"
    assert len(api.page("a")["messages"]) == 2


def test_a_batch_looks_at_its_key(api: Api) -> None:
    reply = api.post(BATCH, json={"messages": items(1)}, headers={"Idempotency-Key": "x" * 257})
    problem(reply, 422, "idempotency_key_invalid")


def test_a_bad_item_refuses_only_itself(api: Api) -> None:
    wrong = [
        {"thread_id": "t", "message": ""},
        {"thread_id": "t", "message": "a\0b"},
        {"thread_id": "a b", "message": "x"},
        {"thread_id": "t", "message": "x" * 65_537},
        {"thread_id": "t", "message": "x", "role": "none"},
        {"thread_id": "t", "message": "x", "metadata": []},
        {"thread_id": "t", "message": "x", "unknown": 1},
        {"thread_id": "t", "message": "x", "idempotency_key": ""},
        {"message": "x"},
        7,
    ]
    mixed = [one for pair in zip(items(len(wrong)), wrong, strict=True) for one in pair]
    reply = ok(api.post(BATCH, json={"messages": mixed}))
    assert (reply["accepted"], reply["refused"]) == (len(wrong), len(wrong))
    for result in reply["results"][1::2]:
        assert result["status"] == 422
        assert result["code"]
        assert result["detail"]
        assert "message" not in result
    told = {error["field"]: error for one in reply["results"] for error in one.get("errors", ())}
    assert told["$.messages[9].role"]["given"] == "none"
    assert "user" in told["$.messages[9].role"]["allowed"]
    assert {"$.messages[11].metadata", "$.messages[13].unknown", "$.messages[19]"} <= told.keys()
    assert len(api.page("t", limit=100)["messages"]) == len(wrong)


def test_a_batch_with_nothing_right_acknowledges_nothing(api: Api) -> None:
    reply = ok(api.post(BATCH, json={"messages": [{"thread_id": "t", "message": ""}]}))
    assert (reply["accepted"], reply["refused"]) == (0, 1)
    assert not reply["background_persistence"]


def test_keys_work_within_a_batch_and_between(api: Api) -> None:
    keyed = [one | {"idempotency_key": f"key-{at}"} for at, one in enumerate(items(3))]
    first = ok(api.post(BATCH, json={"messages": [*keyed, keyed[0]]}))["results"]
    again = ok(api.post(BATCH, json={"messages": keyed}))["results"]
    names = [one["message"]["id"] for one in first]
    assert names[3] == names[0]
    assert [one["message"]["id"] for one in again] == names[:3]
    assert all(one["repeated"] for one in again)
    assert len(api.page("t")["messages"]) == 3


@pytest.mark.parametrize("body", [{}, {"messages": 1}, {"messages": [], "more": 1}, []])
def test_a_body_of_another_shape_is_refused(api: Api, body: Any) -> None:
    problem(api.post(BATCH, json=body), 422, "invalid_body")


def test_a_batch_may_be_larger_than_other_bodies(api: Api) -> None:
    large = [{"thread_id": "t", "message": "x" * 60_000} for _ in range(20)]
    made = [one["message"] for one in ok(api.post(BATCH, json={"messages": large}))["results"]]
    wait_until(api, "archived", made)
