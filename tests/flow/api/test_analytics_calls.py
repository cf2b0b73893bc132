"""Analytics over HTTP: the caller's figures, complete up to `as_of`."""

import itertools
import time
from typing import Any

import pytest

from settings import Settings
from support.calls.api import Api, ok, problem
from support.data.moving import archived, wait_until
from support.waiting import eventually
from wiring.process import Services

SUMMARY = "/api/analytics/summary"
SERIES = "/api/analytics/series"


@pytest.fixture
def made(api: Api, other_api: Api) -> list[dict[str, Any]]:
    posted = [
        api.send("a", "four"),
        api.send("a", "caf\u00e9s", role="assistant"),
        api.send("b", "eight888", role="tool"),
        api.send("b", "deleted"),
        api.send("c", "of a deleted thread"),
        api.send("b", "old"),
    ]
    other_api.send("a", "somebody else's")
    ok(api.patch(f"/api/messages/{posted[5]['id']}", json={"message": "edited"}))
    wait_until(api, "archived", posted)
    return posted


def test_a_summary_counts_what_is_there(api: Api, made: list[dict[str, Any]]) -> None:
    ok(api.delete(f"/api/messages/{made[3]['id']}"))
    assert api.delete("/api/threads/c").status_code == 204

    def counted() -> dict[str, Any]:
        # Each time another range, so that none was counted before.
        return ok(api.get(SUMMARY, params={"until": api.send("x", "x")["created_at"]}))

    found = eventually(lambda: (one := counted())["by_role"].get("user", 0) and one)
    found = eventually(lambda: (one := counted())["bytes"] - _posted(one) == 4 + 6 + 8 + 6 and one)
    assert found["threads"] in {2, 3}
    assert found["by_role"]["assistant"] == found["by_role"]["tool"] == 1
    assert found["first_message_at"] == made[0]["created_at"]
    # Everything up to then is counted; later messages may be too.
    assert found["as_of"] >= made[-1]["created_at"]
    assert found["last_message_at"] >= made[2]["created_at"]
    assert found["p95_bytes"] <= 8
    assert "everyone" not in found


def _posted(found: dict[str, Any]) -> int:
    """The bytes of what the test itself posts to have another range: one each."""
    return int(found["messages"]) - 4


def test_a_deleted_thread_is_not_counted_though_clickhouse_has_it(
    api: Api, services: Services, made: list[dict[str, Any]]
) -> None:
    with archived(services, made):
        assert ok(api.get(SUMMARY))["threads"] == 3
        assert api.delete("/api/threads/c").status_code == 204
        # Another range than before, which ends before the last one.
        until = made[5]["created_at"]
        found = ok(api.get(SUMMARY, params={"until": until}))
        assert (found["threads"], found["messages"]) == (2, 4)


def test_figures_say_how_far_they_go(api: Api, made: list[dict[str, Any]]) -> None:
    posted = api.send("a", "only just")
    # Each time another range, so that none was counted before.
    ends = (f"2200-01-01T00:00:00.{number:06}Z" for number in itertools.count())

    def caught_up() -> bool:
        found = ok(api.get(SUMMARY, params={"until": next(ends)}))
        assert found["messages"] == 7 or found["as_of"] <= posted["created_at"]
        return bool(found["messages"] == 7)

    eventually(caught_up)


def test_figures_are_given_again_for_some_seconds(
    api: Api, settings: Settings, made: list[dict[str, Any]]
) -> None:
    def given_again() -> bool:
        asked = time.monotonic()
        before = ok(api.get(SUMMARY))
        wait_until(api, "archived", [api.send("a", "later")])
        again = ok(api.get(SUMMARY))
        if again == before:
            return True
        # Only where it took longer than figures are given again may they be others.
        assert time.monotonic() - asked > settings.analytics_cache_seconds, (before, again)
        return False

    assert any(given_again() for _ in range(10))


def test_a_series_has_every_bucket(api: Api, made: list[dict[str, Any]]) -> None:
    for bucket in ("minute", "hour", "day", "week"):
        found = ok(api.get(SERIES, params={"bucket": bucket, "metric": "messages"}))
        assert (found["bucket"], found["metric"]) == (bucket, "messages")
        times = [one["at"] for one in found["points"]]
        assert times == sorted(set(times))
        assert sum(one["value"] for one in found["points"]) == 6
    tools = ok(api.get(SERIES, params={"metric": "bytes", "role": "tool"}))
    assert sum(one["value"] for one in tools["points"]) == 8
    day = made[0]["created_at"][:10]
    query = {"since": f"{day}T00:00:00Z", "until": f"{day}T01:00:00Z", "bucket": "minute"}
    assert len(ok(api.get(SERIES, params=query))["points"]) == 60


def test_an_admin_sees_everyones_and_the_tiers(
    admin_api: Api, api: Api, made: list[dict[str, Any]]
) -> None:
    found = ok(admin_api.get(SUMMARY))
    everyone = found["everyone"]
    assert found["messages"] == 0
    assert everyone["messages"] >= 7
    assert everyone["active_users"] >= 2
    assert set(everyone["tiers"]) == {"redis", "postgresql", "clickhouse"}
    for tier in everyone["tiers"].values():
        assert tier["bytes"] > 0
        assert tier["cost_per_month"] >= 0
    assert everyone["tiers"]["clickhouse"]["compression"] > 0
    series = {"metric": "active_users", "scope": "everyone", "bucket": "hour"}
    assert sum(one["value"] for one in ok(admin_api.get(SERIES, params=series))["points"]) >= 2
    problem(api.get(SERIES, params=series), 403, "forbidden")


@pytest.mark.parametrize("bucket", ["minute", "hour", "day", "week"])
def test_the_ends_of_time_are_answered(api: Api, bucket: str) -> None:
    for since, until in (
        ("9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"),
        ("9999-12-31T23:59:59Z", None),
        (None, "1970-01-01T00:00:00Z"),
    ):
        query = {"bucket": bucket, "since": since, "until": until}
        given = {name: value for name, value in query.items() if value}
        assert all(one["value"] == 0 for one in ok(api.get(SERIES, params=given))["points"])
        ok(api.get(SUMMARY, params={name: given[name] for name in given if name != "bucket"}))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"metric": "beauty"}, "invalid_metric"),
        ({"bucket": "year"}, "invalid_bucket"),
        ({"scope": "theirs"}, "invalid_scope"),
        ({"role": "nobody"}, "role_invalid"),
        ({"since": "now"}, "invalid_since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "invalid_until"),
        ({"bucket": "minute", "since": "2020-01-01T00:00:00Z"}, "too_many_buckets"),
    ],
)
def test_bad_questions_are_told_why(api: Api, query: dict[str, str], code: str) -> None:
    problem(api.get(SERIES, params=query), 422, code)
