"""The pipeline's figures: where a message is, whichever tier is down."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.faults.drilled import Drilled
from support.waiting import eventually

ROAD = "/api/admin/road"
ALERTS = "/api/admin/performance-alerts"
PROMISE_SECONDS = 15
ARROWS = [
    ("acknowledge", "client", "redis"),
    ("persist", "redis", "postgresql"),
    ("replicate", "postgresql", "clickhouse"),
    ("archive", "postgresql", "clickhouse"),
    ("detour_postgresql", "client", "postgresql"),
    ("detour_clickhouse", "client", "clickhouse"),
]


def out(drilled: Drilled) -> list[dict[str, Any]]:
    """The alerts of tiers that are down."""
    alerts = ok(drilled.admin.get(ALERTS))["active_alerts"]
    return [one for one in alerts if one["type"] == "tier_unavailable"]


def arrow(road: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in road["arrows"] if one["name"] == name)
    return found


def test_what_was_sent_goes_along_the_road(admin_api: Api, api: Api) -> None:
    def shown() -> dict[str, Any]:
        api.send("road", "hello")
        road = ok(admin_api.get(ROAD))
        for name in ("acknowledge", "persist", "replicate"):
            assert arrow(road, name)["per_second"] > 0, road
        assert arrow(road, "acknowledge")["p95_ms"] >= arrow(road, "acknowledge")["p50_ms"] > 0
        return road

    road = eventually(shown)
    assert [(one["name"], one["from"], one["to"]) for one in road["arrows"]] == ARROWS
    assert all(one["available"] and one["latency_ms"] > 0 for one in road["tiers"].values())
    assert road["tiers"]["redis"]["memory_bytes"] > 0
    assert road["progress"]["ok"] is True
    series = road["series"]
    assert len(series["at"]) == 60
    assert {len(points) for points in series.values()} == {60}
    assert series["at"] == [series["at"][0] + 10 * step for step in range(60)]
    performance = ok(admin_api.get("/api/admin/storage-performance"))
    assert performance["tiers"]["redis"]["calls"] > 0
    assert performance["acknowledged_per_second"] > 0


@pytest.mark.parametrize(
    ("scenario", "tiers", "stopped"),
    [
        ("redis_unavailable", {"redis"}, {"acknowledge", "persist"}),
        ("postgresql_unavailable", {"postgresql"}, {"persist", "replicate"}),
        ("all_unavailable", {"redis", "postgresql", "clickhouse"}, {"acknowledge", "replicate"}),
    ],
)
def test_it_is_told_whichever_tier_is_out(
    drilled: Drilled, scenario: str, tiers: set[str], stopped: set[str]
) -> None:
    with drilled.drill(scenario):

        def shown() -> bool:
            road = ok(drilled.admin.get(ROAD))
            assert {name for name, one in road["tiers"].items() if not one["available"]} == tiers
            assert {one["name"] for one in road["arrows"] if one["state"] == "stopped"} >= stopped
            return bool(road["status"] == "degraded")

        # The process that answers may not have noticed the drill yet.
        eventually(shown)
        eventually(lambda: {one["tier"] for one in out(drilled)} == tiers, PROMISE_SECONDS)
    eventually(lambda: not out(drilled), PROMISE_SECONDS)
    drilled.wait_until_well()


def test_an_alert_is_acknowledged_and_silenced(drilled: Drilled, tmp_path: Path) -> None:
    with drilled.drill("clickhouse_unavailable"):
        (alert,) = eventually(lambda: out(drilled), PROMISE_SECONDS)
        path = f"{ALERTS}/{alert['id']}"
        done = threadkeep(tmp_path, drilled.stack.env, "alerts", "acknowledge", alert["id"])
        assert done.stdout.decode().startswith("acknowledged by cli:"), done
        # The first one stays.
        seen = ok(drilled.admin.post(f"{path}/acknowledge"))
        assert seen["acknowledged_by"].startswith("cli:")
        silent = ok(drilled.admin.post(f"{path}/silence", json={"seconds": 60}))
        assert silent["silenced_until"] > silent["since"]
        (listed,) = out(drilled)
        assert (listed["acknowledged_by"], listed["tier"]) == (
            seen["acknowledged_by"],
            "clickhouse",
        )
        problem(drilled.admin.post(f"{path}/silence", json={"seconds": -1}), 422, "invalid_body")
        said = threadkeep(tmp_path, drilled.stack.env, "alerts", "list", "--json")
        told = json.loads(said.stdout)["active_alerts"]
        (told,) = [one for one in told if one["id"] == alert["id"]]
        assert (told["acknowledged_by"], told["silenced_until"]) == (
            listed["acknowledged_by"],
            listed["silenced_until"],
        )
        shown = threadkeep(tmp_path, drilled.stack.env, "alerts", "list", "--history")
        assert shown.returncode == 1
        assert alert["id"].encode() in shown.stdout
    other = f"{ALERTS}/01a1fed8-b71c-7000-909c-d7cbfc85fba6"
    problem(drilled.admin.post(f"{other}/acknowledge"), 404, "not_found")
    trail = ok(drilled.admin.get("/api/admin/audit"))["entries"]
    done = {one["action"] for one in trail if one["subject"] == f"alert:{alert['id']}"}
    assert done == {"alert.acknowledged", "alert.silenced"}
