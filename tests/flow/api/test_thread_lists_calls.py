"""The list of threads over HTTP: parameters, answers, and the warming of its cache."""

from typing import Any

import pytest
from celery import Celery

from support.calls.api import Api, ok, problem
from support.data.moving import wait_until
from support.waiting import eventually
from wiring.process import Services


def test_a_message_is_listed_the_moment_it_was_acknowledged(api: Api) -> None:
    sources = []
    for number in range(5):
        made = api.send("t", f"message {number}")
        body = ok(api.get("/api/threads"))
        sources.append(body["retrieval_source"])
        (found,) = body["threads"]
        assert found["message_count"] == number + 1
        assert found["last_message_preview"] == f"message {number}"
        assert found["last_message_at"] == made["created_at"]
        assert ok(api.get("/api/threads/t")) == found
    assert sources[0] in {"postgresql", "mixed"}
    # From then on new messages are added to the page in Redis.
    assert "redis" in sources[1:]
    assert body["latency_ms"] > 0
    assert "warning" not in body


def test_marks_are_set_and_filter_the_list(api: Api) -> None:
    for name in ("a", "b"):
        api.send(name, "hello")
    changed = ok(api.patch("/api/threads/a", json={"is_pinned": True, "is_archived": True}))
    assert (changed["is_pinned"], changed["is_archived"]) == (True, True)
    assert (changed["message_count"], changed["last_message_preview"]) == (1, "hello")
    changed = ok(api.patch("/api/threads/a", json={"is_archived": False}))
    assert (changed["is_pinned"], changed["is_archived"]) == (True, False)

    def names(**query: str) -> list[str]:
        return [one["id"] for one in ok(api.get("/api/threads", params=query))["threads"]]

    assert names() == ["b", "a"]
    assert names(is_pinned="true") == ["a"]
    assert names(is_pinned="false", is_archived="false") == ["b"]
    assert names(is_archived="true") == []


@pytest.mark.parametrize("mark", ["is_pinned", "is_archived"])
def test_a_mark_is_true_or_false(api: Api, mark: str) -> None:
    api.send("t", "hello")
    for wrong in (None, "true", 1):
        problem(api.patch("/api/threads/t", json={mark: wrong}), 422, "invalid_body")
    problem(api.patch("/api/threads/t", json={}), 422, "nothing_to_change")
    for odd in ("yes", ""):
        problem(api.get("/api/threads", params={mark: odd}), 422, f"invalid_{mark}")


def test_a_worker_warms_the_list_of_who_is_active(
    api: Api, services: Services, user: str, celery: Celery
) -> None:
    wait_until(api, "persisted", [api.send("t", "hello")])
    services.tiers.redis_repair.invalidate_thread_lists([user])
    # Beat sends this every minute.
    celery.send_task("threads.warm_lists", queue="maintenance")
    eventually(lambda: services.thread_cache_manager._pages.cold([user]) == [])

    def from_redis() -> dict[str, Any] | None:
        body = ok(api.get("/api/threads"))
        return body if body["retrieval_source"] == "redis" else None

    # A process whose lease has lapsed asks PostgreSQL for a moment.
    body = eventually(from_redis)
    assert body["threads"][0]["last_message_preview"] == "hello"
