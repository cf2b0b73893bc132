"""Search over HTTP: parameters, answers, and refusals of bad queries."""

from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.data.moving import archived, wait_until
from support.waiting import eventually
from wiring.process import Services


def find(api: Api, query: str, **fields: Any) -> dict[str, Any]:
    return ok(api.get("/api/search", params={"q": query, **fields}))


def names(page: dict[str, Any]) -> list[str]:
    return [one["id"] for one in page["messages"]]


def test_what_is_posted_is_found_and_shown_where(api: Api, other_api: Api) -> None:
    made = api.send("t", "Un caf\u00e9 \N{WAVING HAND SIGN}, s'il vous pla\u00eet: CAFE noir")
    other_api.send("t", "their cafe")
    page = find(api, "cafe")
    (one,) = page["messages"]
    for name in ("id", "version", "content", "role", "created_at", "content_hash"):
        assert one[name] == made[name]
    shown = [one["content"][start:end] for start, end in one["highlights"]]
    assert shown == ["caf\u00e9", "CAFE"]
    assert page["next_cursor"] is None
    assert page["latency_ms"] > 0
    assert "warning" not in page


def test_it_is_right_at_every_step_of_a_message(api: Api, services: Services) -> None:
    made = api.send("t", "oranges")
    assert names(find(api, "oranges")) == [made["id"]]
    ok(api.patch(f"/api/messages/{made['id']}", json={"message": "bananas"}))
    assert names(find(api, "oranges")) == []
    assert names(find(api, "bananas")) == [made["id"]]
    wait_until(api, "archived", [made])
    with archived(services, [made]):
        page = find(api, "bananas")
        assert (names(page), page["retrieval_source"]) == ([made["id"]], "clickhouse")
        ok(api.patch(f"/api/messages/{made['id']}", json={"message": "oranges again"}))
        assert names(find(api, "bananas")) == []
        assert names(find(api, "oranges")) == [made["id"]]
        assert api.delete("/api/threads/t").status_code == 204
        assert names(find(api, "oranges")) == []
        again = api.send("t", "oranges for a third time")
        assert names(find(api, "oranges")) == [again["id"]]
        eventually(lambda: api.receipt(again["id"])["state"] == "archived")
        assert names(find(api, "oranges")) == [again["id"]]


def test_an_erased_user_finds_nothing(api: Api, admin_api: Api, user: str) -> None:
    made = api.send("t", "cherries")
    wait_until(api, "archived", [made])
    assert names(find(api, "cherries")) == [made["id"]]
    assert ok(api.get("/api/analytics/summary"))["messages"] == 1
    assert admin_api.delete(f"/api/admin/users/{user}").status_code in {200, 202}
    assert names(find(api, "cherries")) == []
    eventually(lambda: ok(api.get("/api/analytics/summary"))["messages"] == 0)


def test_pages_follow_each_other(api: Api) -> None:
    made = api.send_many("t", 30)
    found: list[str] = []
    cursor = None
    while True:
        page = find(api, "message", limit=7, **({"cursor": cursor} if cursor else {}))
        found += names(page)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [one["id"] for one in reversed(made)]


def test_filters_narrow_it(api: Api) -> None:
    first = api.send("a", "plums", role="assistant")
    second = api.send("b", "plums")
    assert names(find(api, "plums", thread_id="a")) == [first["id"]]
    assert names(find(api, "plums", role="user")) == [second["id"]]
    assert names(find(api, "plums", since=second["created_at"])) == [second["id"]]
    assert names(find(api, "plums", until=second["created_at"])) == [first["id"]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "query_empty"),
        ({"q": " "}, "query_empty"),
        ({"q": "?!"}, "query_empty"),
        ({"q": "x" * 201}, "query_too_long"),
        ({"q": "a\0b"}, "text_unkeepable"),
        ({"q": "x", "limit": 0}, "invalid_limit"),
        ({"q": "x", "cursor": "nowhere"}, "invalid_cursor"),
        ({"q": "x", "role": "nobody"}, "role_invalid"),
        ({"q": "x", "thread_id": "no such name"}, "thread_id_invalid"),
        ({"q": "x", "since": "yesterday"}, "invalid_since"),
        ({"q": "x", "until": "2026-01-01T00:00:00"}, "invalid_until"),
        ({"q": "x", "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00+02:00"},
         "invalid_until"),
    ],
)  # fmt: skip
def test_bad_questions_are_told_why(api: Api, query: dict[str, Any], code: str) -> None:
    problem(api.get("/api/search", params=query), 422, code)


def test_single_characters_emoji_and_common_words_are_looked_for(api: Api) -> None:
    made = api.send("t", "the \u5317\u4eac \N{WAVING HAND SIGN} the the")
    for query in ("\u4eac", "\N{WAVING HAND SIGN}", "the", "t*", "\u5317\u4eac"):
        assert names(find(api, query)) == [made["id"]], query
    assert names(find(api, "\u4eac\u5317")) == []
