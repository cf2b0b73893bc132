"""Drills on a running system: each hides tiers from every process, the answers are those of an
outage word for word, and afterwards everything is replayed."""

from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.faults.drilled import SIMULATE, Drilled
from support.waiting import eventually


@pytest.mark.parametrize(
    ("scenario", "tier", "reason", "warning"),
    [
        (
            "redis_unavailable",
            "postgresql",
            "redis_unavailable",
            "degraded_performance_redis_unavailable",
        ),
        ("postgresql_unavailable", "redis", None, "degraded_mode_postgresql_unavailable"),
        (
            "redis_and_postgresql_unavailable",
            "clickhouse",
            "redis_and_postgresql_unavailable",
            "degraded_mode_redis_and_postgresql_unavailable",
        ),
        ("clickhouse_unavailable", "redis", None, None),
    ],
)
def test_answers_are_those_of_an_outage(
    drilled: Drilled, scenario: str, tier: str, reason: str | None, warning: str | None
) -> None:
    before = drilled.user.send(scenario, "before")
    with drilled.drill(scenario):
        # Each process takes part after its next poll, and the first call that meets a silent
        # tier opens its breaker.
        eventually(lambda: _takes_part(drilled, scenario, (tier, reason, warning)))
        found = [drilled.user.send(scenario, f"during {n}") for n in range(4)]
        for one in found:
            assert _how(one) == (tier, reason, warning)
        listed = {one["id"] for one in drilled.user.page(scenario)["messages"]}
        assert {one["id"] for one in found} <= listed
        asked = {"q": "during", "thread_id": scenario}
        searched = ok(drilled.user.get("/api/search", params=asked))
        assert {one["id"] for one in searched["messages"]} == {one["id"] for one in found}
        # Without ClickHouse nobody knows whether PostgreSQL lacks anything since its last outage.
        honest = {"clickhouse_unavailable": {None, "incomplete_clickhouse_unavailable"}}
        assert searched.get("warning") in honest.get(scenario, {warning})
    drilled.wait_until_well()
    listed = {one["id"] for one in drilled.user.page(scenario)["messages"]}
    assert {before["id"], *(one["id"] for one in found)} <= listed

    def is_everywhere(message_id: str) -> bool:
        where = drilled.user.receipt(message_id)["tiers"]
        return bool(where["postgresql"]["present"] and where["clickhouse"]["present"])

    for one in found:
        eventually(lambda name=one["id"]: is_everywhere(name))  # type: ignore[misc]


def _how(acknowledged: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(acknowledged.get(name) for name in ("tier_used", "failover_reason", "warning"))


def _takes_part(drilled: Drilled, thread: str, expected: tuple[Any, ...]) -> bool:
    """Whether several posts in a row are answered so, as a sign that every process takes part."""
    posted = [drilled.user.send(f"{thread}-first", "first") for _ in range(6)]
    return all(_how(one) == expected for one in posted)


def test_figures_without_clickhouse_are_those_of_before_or_none(drilled: Drilled) -> None:
    drilled.user.send("figures", "before")
    before = ok(drilled.user.get("/api/analytics/summary"))
    with drilled.drill("clickhouse_unavailable"):

        def degraded() -> bool:
            again = ok(drilled.user.get("/api/analytics/summary"))
            warning = again.pop("warning", None)
            assert again == before
            return bool(warning == "degraded_mode_clickhouse_unavailable")

        # They are fresh for some seconds.
        eventually(degraded)

        def refused() -> bool:
            reply = drilled.user.get("/api/analytics/summary?since=2020-01-01T00:00:00Z")
            return bool(problem(reply, 503, "storage_unavailable"))

        # Another process may not have polled yet.
        eventually(refused)
    drilled.wait_until_well()


def test_nothing_is_acknowledged_while_all_seem_out(drilled: Drilled) -> None:
    path, key = "/api/threads/all/messages", {"Idempotency-Key": "once"}
    with drilled.drill("all_unavailable"):
        # What must be there once is posted when no process takes anything any more.
        eventually(lambda: _is_refused_by_all(drilled))
        refused = drilled.user.post(path, json={"message": "hello"}, headers=key)
        body = problem(refused, 503, "storage_unavailable")
        assert refused.headers["Retry-After"]
        for tier in ("redis", "postgresql", "clickhouse"):
            assert tier in body["detail"].lower()
    drilled.wait_until_well()
    made = [ok(drilled.user.post(path, json={"message": "hello"}, headers=key)) for _ in range(2)]
    assert made[0]["id"] == made[1]["id"]
    assert len(drilled.user.page("all")["messages"]) == 1


def _is_refused_by_all(drilled: Drilled) -> bool:
    body = {"message": "hello"}
    posted = [drilled.user.post("/api/threads/others/messages", json=body) for _ in range(6)]
    return {one.status_code for one in posted} == {503}


def test_a_drill_ends_by_itself(drilled: Drilled) -> None:
    def seen() -> bool:
        drilled.begin("redis_unavailable", 2)
        return bool(drilled.user.send("ends", "during")["tier_used"] == "postgresql")

    # On a busy machine it may be over before the first post.
    eventually(seen)
    drilled.wait_until_well()


def test_who_learns_late_that_a_drill_was_ended_ends_it_too(drilled: Drilled) -> None:
    drilled.begin("redis_unavailable", 300)
    # Processes poll less often than that.
    drilled.begin("none", 0.01)
    drilled.wait_until_well()


@pytest.mark.parametrize(
    "body",
    [
        {"scenario": "flood", "duration_seconds": 1},
        {"scenario": "redis_unavailable", "duration_seconds": 301},
        {"scenario": "redis_unavailable", "duration_seconds": 0},
        {},
    ],
)
def test_what_is_no_drill_is_refused(drilled: Drilled, body: dict[str, object]) -> None:
    problem(drilled.admin.post(SIMULATE, json=body), 422, "invalid_body")


def test_drills_are_not_there_unless_allowed(admin_api: Api) -> None:
    body = {"scenario": "redis_unavailable", "duration_seconds": 1}
    problem(admin_api.post(SIMULATE, json=body), 404, "not_found")


def test_a_recovery_is_carried_out_by_a_worker(drilled: Drilled) -> None:
    """Nothing is lost here, so nothing may change."""
    made = drilled.user.send_many("kept", 5)
    eventually(lambda: drilled.user.receipt(made[-1]["id"])["tiers"]["clickhouse"]["present"])
    assert ok(drilled.admin.get("/api/admin/disaster-recovery-status"))["state"] == "none"
    path = "/api/admin/initiate-disaster-recovery"
    for tier in ("clickhouse", "postgresql"):
        body = {"recovery_tier": tier, "target_rto_seconds": 30}
        asked = ok(drilled.admin.post(path, json=body), 202)
        status = eventually(lambda: _over(drilled), 30)
        assert (status["id"], status["recovery_tier"]) == (asked["id"], tier)
        assert (status["recovery_complete"], status["within_target"]) == (True, True), status
    problem(drilled.admin.post(path, json={"recovery_tier": "redis"}), 422, "invalid_body")
    listed = drilled.user.page("kept", order="asc")["messages"]
    assert [one["id"] for one in listed] == [one["id"] for one in made]


def _over(drilled: Drilled) -> dict[str, object] | None:
    status = ok(drilled.admin.get("/api/admin/disaster-recovery-status"))
    return status if status["state"] in {"complete", "failed"} else None
