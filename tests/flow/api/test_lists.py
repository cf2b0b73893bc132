"""A thread as a list: every message once, in order, in pages, from whichever tier has it."""

from typing import Any

import pytest

from support.calls.api import Api, ok
from support.data.moving import archived, evict, from_redis, wait_until
from wiring.process import Services

ORDERS = ["asc", "desc"]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in found]


def wanted(made: list[dict[str, Any]], order: str) -> list[str]:
    return names(made) if order == "asc" else names(made)[::-1]


def test_messages_are_listed_in_the_order_of_their_acknowledgements(api: Api) -> None:
    made = [api.send("t", f"message {number}") for number in range(12)]
    assert names(made) == sorted(names(made))
    assert names(api.page("t", order="asc")["messages"]) == names(made)
    assert names(api.page("t")["messages"]) == names(made)[::-1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 4, 5, 10, 11])
def test_pages_join_without_a_gap(api: Api, order: str, limit: int) -> None:
    made = api.send_many("t", 10)
    found, sources = api.walk("t", order=order, limit=limit)
    assert names(found) == wanted(made, order)
    assert len(sources) == -(-10 // limit)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("persisted", [False, True])
def test_deleted_messages_leave_no_hole_in_pages(api: Api, order: str, persisted: bool) -> None:
    made = api.send_many("t", 12)
    if persisted:
        wait_until(api, "archived", made)
    for one in made[2:8]:
        ok(api.delete(f"/api/messages/{one['id']}"))
    kept = made[:2] + made[8:]
    found, _ = api.walk("t", order=order, limit=3)
    assert names(found) == wanted(kept, order)
    assert len(api.page("t", order=order, limit=3)["messages"]) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_a_message_deleted_between_two_pages_is_left_out(api: Api, order: str) -> None:
    made = api.send_many("t", 9)
    expected = wanted(made, order)
    first = api.page("t", order=order, limit=3)
    ok(api.delete(f"/api/messages/{expected[2]}"))
    ok(api.delete(f"/api/messages/{expected[4]}"))
    rest, _ = api.walk("t", order=order, limit=3, cursor=first["next_cursor"])
    assert names(first["messages"]) == expected[:3]
    assert names(rest) == [expected[3], *expected[5:]]


def test_a_message_posted_between_two_pages_is_not_shown_twice(api: Api) -> None:
    made = api.send_many("t", 6)
    first = api.page("t", limit=3)
    api.send("t", "later")
    rest, _ = api.walk("t", limit=3, cursor=first["next_cursor"])
    assert names(first["messages"]) + names(rest) == wanted(made, "desc")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [3, 50])
def test_a_list_goes_on_from_redis_into_postgresql(
    api: Api, services: Services, order: str, limit: int
) -> None:
    old = api.send_many("t", 8)
    wait_until(api, "persisted", old)
    evict(services, old)
    new = api.send_many("t", 4)
    found, sources = api.walk("t", order=order, limit=limit)
    assert names(found) == wanted(old + new, order)
    # One tier if a page is in one, several if it spans them.
    assert set(sources) <= {"redis", "postgresql", "mixed"}
    assert set(sources) - {"redis"}


def test_a_page_read_from_below_warms_redis(api: Api, services: Services) -> None:
    made = api.send_many("t", 6)
    wait_until(api, "persisted", made)
    evict(services, made)
    cold, warm = api.page("t"), from_redis(api)
    assert cold["retrieval_source"] == "postgresql"
    assert cold["messages"] == warm["messages"]
    assert names(warm["messages"]) == wanted(made, "desc")


@pytest.mark.parametrize("order", ORDERS)
def test_a_list_with_records_missing_in_redis_is_whole(
    api: Api, services: Services, order: str
) -> None:
    made = api.send_many("t", 8)
    wait_until(api, "persisted", made)
    evict(services, made[2:6], index=False)
    page = api.page("t", order=order)
    assert names(page["messages"]) == wanted(made, order)
    assert page["retrieval_source"] in {"mixed", "postgresql"}


def test_what_is_pending_is_newer_than_what_is_below(api: Api, services: Services) -> None:
    made = api.send_many("t", 4)
    wait_until(api, "persisted", made)
    evict(services, made)
    ok(api.patch(f"/api/messages/{made[1]['id']}", json={"message": "edited"}))
    ok(api.delete(f"/api/messages/{made[2]['id']}"))
    found = api.page("t", order="asc")["messages"]
    assert names(found) == names([made[0], made[1], made[3]])
    assert [one["content"] for one in found] == ["message 0", "edited", "message 3"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [3, 50])
def test_a_list_is_read_from_clickhouse_alone(
    api: Api, services: Services, order: str, limit: int
) -> None:
    made = api.send_many("t", 8)
    wait_until(api, "archived", made)
    with archived(services, made):
        found, sources = api.walk("t", order=order, limit=limit)
        assert names(found) == wanted(made, order)
        assert [one["content"] for one in found] == [
            one["content"] for one in (made if order == "asc" else made[::-1])
        ]
        assert sources[0] == "clickhouse"
        one = ok(api.get(f"/api/messages/{made[3]['id']}"))
        assert one["content"] == made[3]["content"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [3, 50])
def test_a_list_goes_through_all_three_tiers(
    api: Api, services: Services, order: str, limit: int
) -> None:
    oldest, old = api.send_many("t", 5), api.send_many("t", 5)
    wait_until(api, "archived", oldest + old)
    with archived(services, oldest):
        evict(services, old)
        new = api.send_many("t", 5)
        found, sources = api.walk("t", order=order, limit=limit)
        assert names(found) == wanted(oldest + old + new, order)
        assert "mixed" in sources


def test_an_archived_message_can_be_edited_and_deleted(api: Api, services: Services) -> None:
    made = api.send_many("t", 4)
    wait_until(api, "archived", made)
    with archived(services, made):
        ok(api.patch(f"/api/messages/{made[1]['id']}", json={"message": "edited"}))
        ok(api.delete(f"/api/messages/{made[2]['id']}"))
        for _ in range(2):
            found = api.page("t", order="asc")["messages"]
            assert [one["content"] for one in found] == ["message 0", "edited", "message 3"]
            wait_until(api, "archived", made[1:3])
        assert ok(api.get("/api/threads/t"))["message_count"] == 3


def test_a_deleted_thread_hides_what_is_archived(api: Api, services: Services) -> None:
    made = api.send_many("t", 4)
    wait_until(api, "archived", made)
    with archived(services, made):
        assert api.delete("/api/threads/t").status_code == 204
        new = api.send("t", "anew")
        assert names(api.page("t")["messages"]) == [new["id"]]
        assert api.get(f"/api/messages/{made[0]['id']}").status_code == 404


def test_250_messages_are_listed_from_redis_and_from_clickhouse_alone(
    api: Api, services: Services
) -> None:
    made = api.send_many("t", 250)
    hot = from_redis(api, limit=250, order="desc")
    assert names(hot["messages"]) == wanted(made, "desc")
    wait_until(api, "archived", made[-1:])
    wait_until(api, "archived", made[:1])
    with archived(services, made):
        cold = api.page("t", limit=250, order="desc")
        assert cold["retrieval_source"] == "clickhouse"
        assert cold["messages"] == hot["messages"]
        assert cold["next_cursor"] is None
