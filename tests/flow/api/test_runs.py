"""The state of agents' runs, and its checkpoints, over HTTP."""

from typing import Any

import pytest

from support.calls.api import Api, ok, problem
from support.data.states import archived, kept, run
from support.waiting import eventually
from wiring.process import Services

PATH = "/api/runs/r/state"
HISTORY = "/api/runs/r/checkpoints"


def put(api: Api, state: Any, **body: Any) -> dict[str, Any]:
    return ok(api.call("PUT", PATH, json={"state": state, **body}))


def test_a_run_saves_reads_and_deletes_its_state(api: Api, user: str) -> None:
    problem(api.get(PATH), 404, "not_found")
    made = put(api, {"step": 1}, version=0, ttl_seconds=600)
    assert (made["run_id"], made["version"], made["checkpoint"]) == ("r", 1, "auto")
    reply = api.get(PATH)
    found = ok(reply)
    assert (found["run_id"], found["state"], found["version"]) == ("r", {"step": 1}, 1)
    assert (found["retrieval_source"], reply.headers["ETag"]) == ("redis", '"1"')
    assert found["expires_at"] == made["expires_at"] > found["updated_at"]
    stale = api.call("PUT", PATH, json={"state": {"step": 2}, "version": 3})
    assert problem(stale, 409, "version_conflict")["current_version"] == 1
    stale = api.call("PUT", PATH, json={"state": {}}, headers={"If-Match": '"7"'})
    assert problem(stale, 412, "version_conflict")["current_version"] == 1
    assert api.delete(PATH).status_code == 204
    problem(api.get(PATH), 404, "not_found")
    problem(api.get(HISTORY), 404, "not_found")
    assert put(api, {}, version=0)["version"] == 3


def test_each_level_says_which_tiers_have_it(api: Api, services: Services, user: str) -> None:
    auto = put(api, {"n": 1})
    critical = put(api, {"n": 2}, checkpoint="critical")
    assert kept(services, run(user)) == [2]
    full = put(api, {"n": 3}, checkpoint="full")
    assert set(archived(services, run(user))) == {"checkpoints", "state_records"}
    said = [(one["tier_used"], one["tiers"], one["durability"]) for one in (auto, critical, full)]
    assert said == [
        ("redis", ["redis"], "fsynced"),
        ("redis", ["redis", "postgresql"], "committed"),
        ("redis", ["redis", "postgresql", "clickhouse"], "archived"),
    ]
    assert full["background_persistence"] is False
    assert all("warning" not in one for one in (auto, critical, full))


def test_checkpoints_are_listed_shown_and_put_back(api: Api, services: Services, user: str) -> None:
    for number in range(1, 24):
        put(api, {"n": number}, checkpoint="critical" if number == 5 else "auto")
    eventually(lambda: kept(services, run(user)) == [5, 10, 20])
    first = ok(api.get(HISTORY, params={"limit": 2}))
    assert [one["version"] for one in first["checkpoints"]] == [20, 10]
    assert first["checkpoints"][0]["size_bytes"] == len('{"n":20}')
    rest = ok(api.get(HISTORY, params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [(one["version"], one["checkpoint"]) for one in rest["checkpoints"]] == [(5, "critical")]
    assert rest["next_cursor"] is None
    assert ok(api.get(f"{HISTORY}/10"))["state"] == {"n": 10}
    back = ok(api.post(f"{HISTORY}/10/restore"))
    assert (back["version"], back["state"]) == (24, {"n": 10})
    assert ok(api.get(PATH))["state"] == {"n": 10}
    for missing in ("11", "0", "-1", "x", "9" * 30):
        problem(api.get(f"{HISTORY}/{missing}"), 404, "not_found")
        problem(api.post(f"{HISTORY}/{missing}/restore"), 404, "not_found")
    problem(api.get(HISTORY, params={"cursor": "x"}), 422, "invalid_cursor")
    problem(api.get(HISTORY, params={"limit": "0"}), 422, "invalid_limit")


@pytest.mark.parametrize("run_id", ["a b", "x" * 129, "a%7Cb", "ä"])
def test_a_run_has_a_name_like_a_threads(api: Api, run_id: str) -> None:
    for method, part in (("GET", "state"), ("PUT", "state"), ("GET", "checkpoints")):
        reply = api.call(method, f"/api/runs/{run_id}/{part}", json={"state": {}})
        problem(reply, 422, "run_id_invalid")


def test_a_level_that_does_not_exist_is_refused(api: Api) -> None:
    body = {"state": {}, "checkpoint": "some"}
    problem(api.call("PUT", PATH, json=body), 422, "invalid_body")
