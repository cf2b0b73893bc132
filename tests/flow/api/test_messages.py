"""One message through the API: posted, read, edited, deleted; and found again at once."""

import itertools
from collections.abc import Callable

import pytest

from models import ids
from support.calls.api import Api, ok, problem
from support.data.moving import evict, wait_until
from support.data.samples import AWKWARD_TEXTS
from support.waiting import eventually
from wiring.process import Services

ACKNOWLEDGED = {
    "tier_used": "redis",
    "durability": "fsynced",
    "background_persistence": True,
    "version": 1,
    "role": "user",
    "metadata": {},
    "deleted_at": None,
}


def test_an_acknowledgement_says_what_it_means(api: Api, user: str) -> None:
    made = api.send("inbox", "hello")
    assert {name: made[name] for name in ACKNOWLEDGED} == ACKNOWLEDGED
    assert (made["user_id"], made["thread_id"], made["content"]) == (user, "inbox", "hello")
    assert ids.is_id(made["id"])
    assert made["created_at"] == made["updated_at"] == ids.timestamp(ids.time_us_of(made["id"]))
    assert made["latency_ms"] > 0
    assert not {"failover_reason", "warning"} & set(made)


def test_a_message_is_found_at_once(api: Api) -> None:
    for number in range(5):
        made = api.send("t", f"message {number}")
        found = ok(api.get(f"/api/messages/{made['id']}"))
        assert found["content"] == f"message {number}"
        assert found["retrieval_source"] == "redis"
        assert api.page("t")["messages"][0]["id"] == made["id"]


def test_a_message_reaches_every_tier(api: Api) -> None:
    made = api.send("t", "hello", role="tool", metadata={"a": [1, None]})
    wait_until(api, "archived", [made])
    receipt = api.receipt(made["id"])
    assert set(receipt["tiers"]) == {"redis", "postgresql", "clickhouse"}
    for tier in receipt["tiers"].values():
        (copy,) = tier["copies"]
        assert tier["present"]
        assert copy["intact"]
        assert (copy["version"], copy["content_hash"]) == (1, receipt["content_hash"])


def test_a_receipt_says_that_a_message_is_on_its_way(api: Api) -> None:
    made = api.send("t", "hello")
    states = {"acknowledged", "persisted", "archived"}
    assert api.receipt(made["id"])["state"] in states
    wait_until(api, "archived", [made])
    receipt = api.receipt(made["id"])
    assert (receipt["state"], receipt["tiers"]["redis"]["pending"]) == ("archived", False)


def test_a_message_that_left_redis_is_read_from_postgresql(api: Api, services: Services) -> None:
    made = api.send("t", "hello")
    wait_until(api, "persisted", [made])
    evict(services, [made])
    found = ok(api.get(f"/api/messages/{made['id']}"))
    assert (found["content"], found["retrieval_source"]) == ("hello", "postgresql")


def test_awkward_text_is_kept_exactly(api: Api) -> None:
    made = [api.send("t", text, metadata={text: text}) for text in AWKWARD_TEXTS]
    wait_until(api, "archived", made)
    for text, one in zip(AWKWARD_TEXTS, made, strict=True):
        found = ok(api.get(f"/api/messages/{one['id']}"))
        assert found["content"] == text
        assert found["metadata"] == {text: text}
        assert all(
            copy["intact"]
            for tier in api.receipt(one["id"])["tiers"].values()
            for copy in tier["copies"]
        )


def test_committed_means_that_postgresql_has_it(api: Api, services: Services, user: str) -> None:
    made = api.send("t", "hello", durability="committed")
    assert made["durability"] == "committed"
    assert not made["background_persistence"]
    assert services.tiers.postgres.version_of(user, made["id"]) == 1


def test_an_edit_is_a_new_version_of_the_same_message(api: Api) -> None:
    made = api.send("t", "one", metadata={"a": 1})
    edited = ok(api.patch(f"/api/messages/{made['id']}", json={"message": "two"}))
    assert (edited["id"], edited["version"], edited["content"]) == (made["id"], 2, "two")
    assert edited["metadata"] == {"a": 1}
    assert edited["created_at"] == made["created_at"]
    assert edited["updated_at"] > made["updated_at"]
    again = ok(api.patch(f"/api/messages/{made['id']}", json={"metadata": {}}))
    assert (again["version"], again["content"], again["metadata"]) == (3, "two", {})
    assert api.page("t")["messages"][0]["content"] == "two"


def test_an_edit_reaches_every_tier(api: Api) -> None:
    made = api.send("t", "one")
    wait_until(api, "archived", [made])
    ok(api.patch(f"/api/messages/{made['id']}", json={"message": "two"}))
    wait_until(api, "archived", [made])
    receipt = api.receipt(made["id"])
    assert receipt["version"] == 2
    for tier in receipt["tiers"].values():
        assert tier["copies"][0]["version"] == 2
        assert all(copy["intact"] for copy in tier["copies"])


def test_an_edit_of_a_message_that_left_redis(api: Api, services: Services) -> None:
    made = api.send("t", "one")
    wait_until(api, "persisted", [made])
    evict(services, [made])
    edited = ok(api.patch(f"/api/messages/{made['id']}", json={"message": "two"}))
    assert edited["version"] == 2
    assert [one["content"] for one in api.page("t")["messages"]] == ["two"]
    assert ok(api.get(f"/api/messages/{made['id']}"))["content"] == "two"


def test_an_old_version_is_not_edited(api: Api) -> None:
    made = api.send("t", "one")
    path = f"/api/messages/{made['id']}"
    assert api.get(path).headers["ETag"] == '"1"'
    second = api.patch(path, json={"message": "two"}, headers={"If-Match": '"1"'})
    assert second.headers["ETag"] == '"2"'
    late = api.patch(path, json={"message": "three"}, headers={"If-Match": '"1"'})
    assert problem(late, 412, "version_conflict")["current_version"] == 2
    problem(api.delete(path, headers={"If-Match": '"1"'}), 412, "version_conflict")
    assert ok(api.get(path))["content"] == "two"
    assert ok(api.delete(path, headers={"If-Match": '"2"'}))["version"] == 3


@pytest.mark.parametrize("given", ["*", '"1"', '"7", "1"', 'W/"3", "1"'])
def test_a_version_may_be_asked_for_in_every_form(api: Api, given: str) -> None:
    made = api.send("t", "one")
    reply = api.patch(
        f"/api/messages/{made['id']}", json={"message": "two"}, headers={"If-Match": given}
    )
    assert ok(reply)["version"] == 2


def test_a_deleted_message_is_gone_at_once_and_for_good(api: Api) -> None:
    kept, gone = api.send("t", "kept"), api.send("t", "gone")
    tombstone = ok(api.delete(f"/api/messages/{gone['id']}"))
    assert (tombstone["content"], tombstone["version"]) == ("", 2)
    for _ in range(2):
        problem(api.get(f"/api/messages/{gone['id']}"), 404, "not_found")
        assert [one["id"] for one in api.page("t")["messages"]] == [kept["id"]]
        wait_until(api, "archived", [gone])
    problem(api.delete(f"/api/messages/{gone['id']}"), 404, "not_found")
    problem(api.patch(f"/api/messages/{gone['id']}", json={"message": "x"}), 404, "not_found")


def test_a_deleted_message_leaves_no_text_in_any_tier(
    api: Api, services: Services, user: str
) -> None:
    gone = api.send("t", "a secret", metadata={"a": "secret"})
    wait_until(api, "archived", [gone])
    ok(api.delete(f"/api/messages/{gone['id']}"))
    wait_until(api, "archived", [gone])
    row = services.tiers.postgres.message(user, gone["id"])
    assert row is not None
    assert (row[0].content, row[0].metadata, row[0].version) == ("", {}, 2)
    record = services.tiers.redis.message(gone["id"])
    assert record is not None
    assert b"secret" not in record


def test_a_retry_with_the_same_key_gives_the_same_message(api: Api) -> None:
    def send(key: str) -> dict[str, str]:
        headers = {"Idempotency-Key": key}
        reply = api.post("/api/threads/t/messages", json={"message": "one"}, headers=headers)
        return {**ok(reply), "replayed": reply.headers.get("Idempotency-Replayed", "false")}

    first, again, other = send("a"), send("a"), send("b")
    assert (again["id"], again["content"]) == (first["id"], "one")
    assert (first["replayed"], again["replayed"]) == ("false", "true")
    assert other["id"] != first["id"]
    assert len(api.page("t")["messages"]) == 2


def test_a_retry_with_another_message_is_refused(api: Api) -> None:
    path, headers = "/api/threads/t/messages", {"Idempotency-Key": "key"}
    made = ok(api.post(path, json={"message": "one"}, headers=headers))
    refused = api.post(path, json={"message": "two"}, headers=headers)
    problem(refused, 422, "idempotency_key_reused")
    # After an edit the earlier content is unknown.
    ok(api.patch(f"/api/messages/{made['id']}", json={"message": "edited"}))
    assert ok(api.post(path, json={"message": "one"}, headers=headers))["content"] == "edited"


@pytest.mark.parametrize("gone", ["message", "thread"])
def test_a_retry_after_a_deletion_is_a_new_message(api: Api, gone: str) -> None:
    path, headers = "/api/threads/t/messages", {"Idempotency-Key": "key"}
    made = ok(api.post(path, json={"message": "one"}, headers=headers))
    is_message = gone == "message"
    deleted = api.delete(f"/api/messages/{made['id']}" if is_message else "/api/threads/t")
    assert deleted.ok
    again = api.post(path, json={"message": "two"}, headers=headers)
    assert "Idempotency-Replayed" not in again.headers
    assert [one["id"] for one in api.page("t")["messages"]] == [ok(again)["id"]]
    assert ok(api.get(f"/api/messages/{again.json()['id']}"))["content"] == "two"
    problem(api.get(f"/api/messages/{made['id']}"), 404, "not_found")


def test_the_same_key_belongs_to_user_and_thread(api: Api, other_api: Api) -> None:
    headers = {"Idempotency-Key": "key"}
    made = [
        ok(one.post(f"/api/threads/{thread}/messages", json={"message": "x"}, headers=headers))
        for one in (api, other_api)
        for thread in ("a", "b")
    ]
    assert len({one["id"] for one in made}) == 4


def test_a_post_wakes_a_worker_by_a_task(api: Api, drains_run: Callable[[], int]) -> None:
    # A slot that was woken within two seconds is not woken again, and tests share the slots.
    before = drains_run()
    threads = itertools.count()

    def posted_and_drained() -> bool:
        api.send(f"t{next(threads)}", "hello")
        return drains_run() > before

    assert eventually(posted_and_drained)
