"""Threads: created, listed, changed, deleted, erased, and created again."""

import base64
from typing import Any

import msgspec
import pytest
from celery import Celery
from sqlalchemy import select

from models import ids
from models.message import ThreadSummary
from models.tables import messages, threads
from support.calls.api import Api, ok, problem
from support.data.moving import wait_until
from support.waiting import eventually
from wiring.process import Services


def listed(api: Api, **query: Any) -> list[str]:
    return [one["id"] for one in ok(api.get("/api/threads", params=query))["threads"]]


def create(api: Api, name: str, **body: Any) -> dict[str, Any]:
    return ok(api.post("/api/threads", json={"id": name, **body}), 201)


def test_a_thread_is_created_and_found_at_once(api: Api, user: str) -> None:
    made = create(api, "inbox", title="My inbox", metadata={"a": 1})
    assert (made["id"], made["user_id"], made["title"]) == ("inbox", user, "My inbox")
    assert (made["metadata"], made["message_count"]) == ({"a": 1}, 0)
    found = ok(api.get("/api/threads/inbox"))
    assert found == made
    assert api.page("inbox")["messages"] == []


def test_the_server_names_a_thread_that_has_no_name(api: Api) -> None:
    first, second = (ok(api.post("/api/threads", json={}), 201) for _ in range(2))
    assert ids.is_id(first["id"])
    assert first["id"] != second["id"]


def test_a_thread_is_created_once(api: Api) -> None:
    create(api, "a")
    problem(api.post("/api/threads", json={"id": "a"}), 409, "thread_exists")
    api.send("b", "hello")
    problem(api.post("/api/threads", json={"id": "b"}), 409, "thread_exists")


def test_two_users_may_have_a_thread_of_one_name(api: Api, other_api: Api) -> None:
    create(api, "inbox", title="mine")
    create(other_api, "inbox", title="theirs")
    api.send("inbox", "mine")
    assert other_api.page("inbox")["messages"] == []
    assert ok(other_api.get("/api/threads/inbox"))["title"] == "theirs"


def test_a_message_makes_its_thread(api: Api) -> None:
    made = api.send("t", "hello")
    found = ok(api.get("/api/threads/t"))
    assert found["last_message_at"] == made["created_at"]
    wait_until(api, "persisted", [made])
    assert ok(api.get("/api/threads/t"))["message_count"] == 1


def test_a_thread_whose_only_message_was_deleted_is_empty_and_still_there(api: Api) -> None:
    made = api.send("t", "hello")
    ok(api.delete(f"/api/messages/{made['id']}"))
    assert api.page("t")["messages"] == []
    ok(api.get("/api/threads/t"))


def test_threads_are_listed_by_last_activity(api: Api) -> None:
    for name in ("a", "b", "c", "a"):
        api.send(name, "hello")
    eventually(lambda: listed(api) == ["a", "c", "b"])
    create(api, "d")
    eventually(lambda: listed(api) == ["d", "a", "c", "b"])


def test_threads_are_listed_page_by_page(api: Api) -> None:
    names = [f"thread-{number}" for number in range(7)]
    for name in names:
        api.send(name, "hello")
    eventually(lambda: len(listed(api)) == 7)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = ok(api.get("/api/threads", params=query))
        found += [one["id"] for one in page["threads"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == names[::-1]


@pytest.mark.parametrize(
    "text", ["x", "[]", '["yesterday", "t"]', '["2026-01-01T00:00:00Z", "a b"]']
)
def test_a_cursor_nobody_gave_is_refused(api: Api, text: str) -> None:
    cursor = base64.urlsafe_b64encode(text.encode()).decode()
    problem(api.get("/api/threads", params={"cursor": cursor}), 422, "invalid_cursor")


def test_a_thread_is_changed_field_by_field(api: Api) -> None:
    create(api, "t", title="one", metadata={"a": 1})
    assert ok(api.patch("/api/threads/t", json={"title": "two"}))["metadata"] == {"a": 1}
    assert ok(api.patch("/api/threads/t", json={"metadata": {}}))["title"] == "two"
    assert ok(api.patch("/api/threads/t", json={"title": None}))["title"] is None
    assert ok(api.get("/api/threads/t"))["title"] is None


def test_a_thread_that_a_message_made_can_be_changed(api: Api) -> None:
    made = api.send("t", "hello")
    assert ok(api.patch("/api/threads/t", json={"title": "named"}))["title"] == "named"
    wait_until(api, "persisted", [made])
    eventually(lambda: ok(api.get("/api/threads"))["threads"][0]["title"] == "named")
    assert ok(api.get("/api/threads/t"))["message_count"] == 1


def test_a_thread_is_counted_right_after_edits_and_deletions(api: Api) -> None:
    made = api.send_many("t", 5)
    ok(api.patch(f"/api/messages/{made[0]['id']}", json={"message": "edited"}))
    ok(api.delete(f"/api/messages/{made[1]['id']}"))
    wait_until(api, "persisted", made)
    assert ok(api.get("/api/threads/t"))["message_count"] == 4
    ok(api.delete(f"/api/messages/{made[0]['id']}"))
    wait_until(api, "persisted", made)
    assert ok(api.get("/api/threads/t"))["message_count"] == 3


def test_a_deleted_thread_hides_everything_at_once(api: Api) -> None:
    made = [api.send("t", f"message {number}") for number in range(3)]
    assert api.delete("/api/threads/t").status_code == 204
    _assert_gone(api, made)
    # And still after the deletion has reached the other tiers.
    eventually(lambda: listed(api) == [])
    _assert_gone(api, made)


def test_a_thread_of_persisted_messages_hides_them_at_once(api: Api) -> None:
    made = api.send_many("t", 5)
    wait_until(api, "archived", made)
    assert api.delete("/api/threads/t").status_code == 204
    _assert_gone(api, made)


def test_a_deleted_thread_is_deleted_once(api: Api) -> None:
    create(api, "t")
    assert api.delete("/api/threads/t").status_code == 204
    for call in (api.get, api.delete):
        problem(call("/api/threads/t"), 404, "not_found")
    problem(api.patch("/api/threads/t", json={"title": "x"}), 404, "not_found")


def test_a_later_message_opens_the_thread_anew(api: Api) -> None:
    create(api, "t", title="old", metadata={"old": True})
    old = api.send_many("t", 3)
    assert api.delete("/api/threads/t").status_code == 204
    new = api.send("t", "anew")
    assert [one["id"] for one in api.page("t")["messages"]] == [new["id"]]
    found = ok(api.get("/api/threads/t"))
    assert (found["title"], found["metadata"]) == (None, {})
    wait_until(api, "archived", [new])
    assert [one["id"] for one in api.page("t")["messages"]] == [new["id"]]
    assert ok(api.get("/api/threads/t"))["message_count"] == 1
    problem(api.get(f"/api/messages/{old[0]['id']}"), 404, "not_found")
    eventually(lambda: listed(api) == ["t"])


def test_a_deleted_thread_may_be_created_anew(api: Api, services: Services, user: str) -> None:
    create(api, "t", title="old")
    api.delete("/api/threads/t")
    made = create(api, "t", title="new")
    assert ok(api.get("/api/threads/t")) == made

    def committed() -> ThreadSummary | None:
        row = services.tiers.postgres.thread(user, "t")
        return row.thread.summary(*row[1:]) if row else None

    eventually(lambda: (found := committed()) is not None and found.title == "new")
    assert listed(api) == ["t"]
    # The same whether Redis still has it or not.
    assert committed() == msgspec.convert(made, ThreadSummary)


def test_erasure_takes_the_text_out_of_every_tier(
    api: Api, services: Services, user: str, celery: Celery
) -> None:
    made = api.send_many("t", 5)
    wait_until(api, "archived", made)
    assert api.delete("/api/threads/t").status_code == 204
    kept = api.send("t", "kept")
    eventually(lambda: services.tiers.postgres.version_of(user, kept["id"]))
    # Beat sends this every half minute.
    celery.send_task("erase.erase_deleted_threads", queue="maintenance")
    eventually(lambda: _is_erased(services, user))
    eventually(lambda: _archived_texts(services, user, made) == {""})
    assert _committed_texts(services, user, kept["id"]) == {""}
    for one in made:
        assert services.tiers.redis.message(one["id"]) is None
    assert api.page("t")["messages"][0]["content"] == "kept"


def _is_erased(services: Services, user: str) -> bool:
    query = select(threads.c.erased_through).where(threads.c.user_id == user)
    with services.tiers.job_engine.connect() as connection:
        return connection.execute(query).scalar_one_or_none() is not None


def _committed_texts(services: Services, user: str, kept: str) -> set[str]:
    query = select(messages.c.content).where(messages.c.user_id == user, messages.c.id != kept)
    with services.tiers.job_engine.connect() as connection:
        return set(connection.execute(query).scalars())


def _archived_texts(services: Services, user: str, made: list[dict[str, Any]]) -> set[str]:
    found = [services.tiers.clickhouse.message(user, one["id"]) for one in made]
    return {copy[0].content for copy in found if copy is not None}


def _assert_gone(api: Api, made: list[dict[str, Any]]) -> None:
    problem(api.get("/api/threads/t"), 404, "not_found")
    problem(api.get("/api/threads/t/messages"), 404, "not_found")
    for one in made:
        problem(api.get(f"/api/messages/{one['id']}"), 404, "not_found")
        problem(api.patch(f"/api/messages/{one['id']}", json={"message": "x"}), 404, "not_found")
        problem(api.delete(f"/api/messages/{one['id']}"), 404, "not_found")
