"""Streaming messages over HTTP, with a worker running: an agent's calls and what a reader sees."""

from typing import Any

import pytest

from models.streams import STREAM_MARK
from storage.redis import keys
from support.calls.api import Api, ok, problem
from support.data.moving import wait_until
from support.waiting import eventually
from wiring.process import Services


def opened(api: Api, **body: Any) -> dict[str, Any]:
    return ok(api.post("/api/threads/t/messages:stream", json=body), 201)


def append(api: Api, message: dict[str, Any], text: str, /, **more: Any) -> Any:
    return api.post(f"/api/messages/{message['id']}/chunks", json={"text": text, **more})


def finish(api: Api, message: dict[str, Any], /, **body: Any) -> Any:
    return api.post(f"/api/messages/{message['id']}/finish", json=body)


def shown(api: Api, message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message as it is read by id, and as it is in its list."""
    (listed,) = [one for one in api.page("t")["messages"] if one["id"] == message["id"]]
    return ok(api.get(f"/api/messages/{message['id']}")), listed


def test_an_agent_opens_appends_and_finishes(api: Api) -> None:
    api.send("t", "what is the time?")
    message = opened(api, metadata={"model": "m"})
    assert (message["version"], message["role"], message["content"]) == (1, "assistant", "")
    assert message["stream"] == {"state": "open", "length": 0}
    assert message["durability"] == "fsynced"
    told = ok(append(api, message, "It is "))
    assert told == {"message_id": message["id"], "length": 6, "version": 1}
    assert ok(append(api, message, "héé", offset=6))["length"] == 11
    for seen in shown(api, message):
        assert seen["stream"] == {"state": "open", "length": 11, "text": "It is héé"}
        assert (seen["content"], seen["content_hash"]) == ("", message["content_hash"])
        assert seen["metadata"] == {"model": "m", STREAM_MARK: "open"}
    final = ok(finish(api, message))
    assert (final["version"], final["content"]) == (2, "It is héé")
    assert final["metadata"] == {"model": "m"}
    again = finish(api, message)
    assert ok(again)["content_hash"] == final["content_hash"]
    assert again.headers["Idempotency-Replayed"] == "true"
    for seen in shown(api, message):
        assert "stream" not in seen
        assert seen["content"] == "It is héé"
    wait_until(api, "archived", [final])
    assert api.receipt(message["id"])["version"] == 2


def test_no_body_opens_and_finishes_too(api: Api) -> None:
    message = ok(api.post("/api/threads/t/messages:stream"), 201)
    final = ok(api.post(f"/api/messages/{message['id']}/finish"))
    assert (final["version"], final["content"], final["metadata"]) == (2, "", {})


def test_a_repeated_opening_gives_the_same_message(api: Api) -> None:
    def once() -> dict[str, Any]:
        headers = {"Idempotency-Key": "key"}
        return ok(api.post("/api/threads/t/messages:stream", json={}, headers=headers), 201)

    message = once()
    ok(append(api, message, "on its way"))
    again = once()
    assert (again["id"], again["stream"]) == (message["id"], {"state": "open", "length": 10})


def test_what_does_not_fit_says_how_much_there_is(api: Api) -> None:
    message = opened(api, message="So")
    assert problem(append(api, message, "x", offset=9), 409, "offset_mismatch")["length"] == 2
    problem(append(api, message, ""), 422, "content_empty")
    problem(append(api, message, "\0"), 422, "text_unkeepable")
    problem(append(api, message, "x", offset=-1), 422, "invalid_body")
    problem(append(api, message, "x" * 65_535), 422, "content_too_long")
    problem(finish(api, message, message="x" * 65_537), 422, "content_too_long")
    edit = api.patch(f"/api/messages/{message['id']}", json={"message": "x"})
    problem(edit, 409, "message_streaming")
    problem(append(api, api.send("t", "plain"), "x"), 409, "not_streaming")
    problem(append(api, {"id": "none"}, "x"), 404, "not_found")
    assert ok(finish(api, message))["content"] == "So"


def test_the_mark_is_the_servers_own(api: Api) -> None:
    marked = {"metadata": {STREAM_MARK: "open"}}
    plain, message = api.send("t", "plain"), opened(api)
    for reply in (
        api.post("/api/threads/t/messages", json={"message": "x", **marked}),
        api.post("/api/threads/t/messages:stream", json=marked),
        api.patch(f"/api/messages/{plain['id']}", json=marked),
        finish(api, message, **marked),
    ):
        problem(reply, 422, "metadata_reserved")


def test_a_worker_finishes_what_its_agent_left(api: Api, services: Services) -> None:
    message = opened(api)
    ok(append(api, message, "half a sent"))
    slot = services.tiers.redis.slot_of_message(message["id"])
    services.tiers.redis_client.zadd(keys.streams(slot), {message["id"]: 1.0})

    def interrupted() -> dict[str, Any] | None:
        found = ok(api.get(f"/api/messages/{message['id']}"))
        return found if found["version"] == 2 else None

    found = eventually(interrupted)
    assert found["content"] == "half a sent"
    assert found["metadata"] == {STREAM_MARK: "interrupted"}
    assert problem(append(api, message, "x"), 409, "stream_interrupted")["length"] == 11
    assert ok(finish(api, message, message="half a sentence"))["version"] == 3


@pytest.mark.parametrize("by", ["message", "thread"])
def test_what_is_deleted_takes_nothing_more(api: Api, by: str) -> None:
    message = opened(api)
    ok(append(api, message, "gone"))
    path = f"/api/messages/{message['id']}" if by == "message" else "/api/threads/t"
    assert api.delete(path).status_code in {200, 204}
    problem(append(api, message, "x"), 404, "not_found")
    problem(finish(api, message), 404, "not_found")
