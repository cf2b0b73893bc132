"""Erasing users, retention and the audit trail: over HTTP and by command."""

import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery

from support.calls import commands
from support.calls.api import Api, ok, problem
from support.data.everywhere import places
from support.data.moving import wait_until
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services

RETENTION = "/api/admin/retention"
AUDIT = "/api/admin/audit"


def erased(admin_api: Api, user: str) -> dict[str, Any]:
    """Asks for an erasure until it is done."""

    def done() -> dict[str, Any] | None:
        reply = admin_api.delete(f"/api/admin/users/{quote(user, safe='')}")
        assert reply.status_code in {200, 202}, reply.text
        receipt: dict[str, Any] = reply.json()
        assert (receipt["state"] == "done") == (reply.status_code == 200)
        return receipt if receipt["state"] == "done" else None

    found = eventually(done, seconds=40)
    assert found is not None
    return found


def entries(admin_api: Api, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(admin_api.get(AUDIT, params=query))["entries"]
    return found


def threadkeep(folder: Path, stack: Launched, *arguments: str) -> tuple[int, str, str]:
    done = commands.threadkeep(folder, stack.env, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_an_admin_erases_a_user_and_has_a_receipt(
    api: Api, other_api: Api, admin_api: Api, services: Services, user: str
) -> None:
    said = f"said once {secrets.token_hex(8)}"
    made = [api.send("t", said) for _ in range(3)]
    kept = other_api.send("t", "of somebody else")
    wait_until(api, "archived", made)
    made.append(api.send("t", said))
    receipt = erased(admin_api, user)
    assert receipt["removed"]["postgresql"]["messages"] >= 3
    assert receipt["removed"]["clickhouse"]["messages"] >= 3
    assert receipt["user_id"] == user
    assert erased(admin_api, user) == receipt
    for one in made:
        problem(api.get(f"/api/messages/{one['id']}"), 404, "not_found")
    assert ok(api.get("/api/threads"))["threads"] == []
    assert places(services, said) == set()
    assert ok(other_api.get(f"/api/messages/{kept['id']}"))["content"] == "of somebody else"
    done, asked = entries(admin_api, limit=2)
    assert (done["action"], asked["action"]) == ("user.erased", "user.erase")
    assert done["subject"] == asked["subject"] == f"user:{user}"
    assert done["counts"]["postgresql.messages"] == receipt["removed"]["postgresql"]["messages"]
    # A user who returns is accepted.
    again = api.send("t", "again")
    assert [one["id"] for one in api.page("t")["messages"]] == [again["id"]]


def test_what_takes_long_goes_on_behind_the_answer(
    api: Api, admin_api: Api, services: Services, user: str
) -> None:
    wait_until(api, "archived", [api.send("t", "to be erased")])
    with services.tiers.job_clickhouse.engine.begin() as connection:
        # A mutation waits for as long as merges are stopped.
        connection.exec_driver_sql("SYSTEM STOP MERGES messages")
    try:
        receipt = ok(admin_api.delete(f"/api/admin/users/{user}"), 202)
        assert receipt["state"] == "pending"
        assert receipt["removed"]["postgresql"]["messages"] == 1
        problem(api.get("/api/threads/t/messages"), 404, "not_found")
    finally:
        with services.tiers.job_clickhouse.engine.begin() as connection:
            connection.exec_driver_sql("SYSTEM START MERGES messages")
    assert erased(admin_api, user)["removed"]["clickhouse"]["messages"] == 1


def test_a_name_with_slashes_is_that_name(admin_api: Api) -> None:
    user = f"{secrets.token_hex(4)}//a/b c?d=é%2F"
    assert erased(admin_api, user)["user_id"] == user


def test_a_hold_beats_an_erasure(api: Api, admin_api: Api, user: str) -> None:
    made = api.send("t", "under a hold")
    held = {"user_id": user, "thread_id": "t", "legal_hold": True}
    policy = ok(admin_api.call("PUT", RETENTION, json=held))["policy"]
    assert (policy["legal_hold"], policy["keep_days"], policy["thread_id"]) == (True, None, "t")
    problem(admin_api.delete(f"/api/admin/users/{user}"), 409, "legal_hold")
    assert ok(api.get(f"/api/messages/{made['id']}"))["content"] == "under a hold"
    query = {"user_id": user, "thread_id": "t"}
    assert ok(admin_api.delete(RETENTION, params=query)) == policy
    problem(admin_api.delete(RETENTION, params=query), 404, "not_found")
    assert erased(admin_api, user)["state"] == "done"


def test_policies_are_listed_from_cursor_to_cursor(admin_api: Api, user: str) -> None:
    for thread in ("a", "b", "c"):
        body = {"user_id": user, "thread_id": thread, "keep_days": 9000}
        ok(admin_api.call("PUT", RETENTION, json=body))
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = ok(admin_api.get(RETENTION, params=query))
        found += page["policies"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert [one["thread_id"] for one in found if one["user_id"] == user] == ["a", "b", "c"]
    for thread in ("a", "b", "c"):
        ok(admin_api.delete(RETENTION, params={"user_id": user, "thread_id": thread}))


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": "u"},
        {"user_id": "", "keep_days": 1},
        {"user_id": "u", "keep_days": 0},
        {"user_id": "u", "keep_days": True},
        {"user_id": "u", "keep_days": 10**9},
        {"user_id": "u", "thread_id": "no such id", "keep_days": 1},
        {"user_id": "u", "legal_hold": "yes"},
        {"user_id": "u", "keep_days": 1, "hold": True},
    ],
)
def test_what_is_no_policy_is_refused(admin_api: Api, body: dict[str, Any]) -> None:
    assert admin_api.call("PUT", RETENTION, json=body).status_code == 422


def test_the_trail_is_filtered_and_paged(admin_api: Api, user: str) -> None:
    for days in (1000, 1001, 1002):
        ok(admin_api.call("PUT", RETENTION, json={"user_id": user, "keep_days": days}))
    ok(admin_api.delete(RETENTION, params={"user_id": user}))
    actor = entries(admin_api, limit=1)[0]["actor"]
    own = entries(admin_api, actor=actor)
    assert [one["action"] for one in own] == ["retention.cleared"] + ["retention.set"] * 3
    assert entries(admin_api, actor=actor, action="retention.cleared") == own[:1]
    assert entries(admin_api, actor=actor, since=own[1]["at"]) == own[:2]
    first = ok(admin_api.get(AUDIT, params={"actor": actor, "limit": 3}))
    assert first["entries"] == own[:3]
    query = {"actor": actor, "limit": 3, "cursor": first["next_cursor"]}
    assert ok(admin_api.get(AUDIT, params=query)) == {"entries": own[3:], "next_cursor": None}
    for wrong in ({"since": "noon"}, {"since": "2026-01-01"}, {"cursor": "1"}, {"limit": 0}):
        assert admin_api.get(AUDIT, params=wrong).status_code == 422


def test_nobody_else_reads_the_trail_or_erases(api: Api, anonymous_api: Api, user: str) -> None:
    calls = (
        ("GET", AUDIT),
        ("GET", RETENTION),
        ("PUT", RETENTION),
        ("DELETE", RETENTION),
        ("DELETE", f"/api/admin/users/{user}"),
    )
    for method, path in calls:
        problem(api.call(method, path), 403, "forbidden")
        problem(anonymous_api.call(method, path), 401, "invalid_token")


def test_bringing_redis_back_is_in_the_trail(admin_api: Api, user: str) -> None:
    ok(admin_api.post("/api/admin/recover-redis-cache", json={"user_id": user}))
    (entry,) = entries(admin_api, action="redis.recovered", limit=1)
    assert entry["subject"] == f"user:{user}"
    assert entry["details"] == {"backfill_missing": True}


def test_the_commands_do_the_same(
    api: Api, admin_api: Api, stack: Launched, tmp_path: Path, user: str
) -> None:
    wait_until(api, "archived", [api.send("t", "to be erased")])
    done = threadkeep(tmp_path, stack, "retention", "set", user, "--legal-hold")
    assert done[:2] == (0, "kept for ever, on legal hold\n"), done[2]
    refused = threadkeep(tmp_path, stack, "erase-user", user, "--yes")
    assert refused[0] == 1
    assert "legal hold" in refused[2]
    status, listed, _ = threadkeep(tmp_path, stack, "retention", "list", "--json")
    assert status == 0
    assert [one["legal_hold"] for one in json.loads(listed) if one["user_id"] == user] == [True]
    assert threadkeep(tmp_path, stack, "retention", "clear", user)[0] == 0
    status, receipt, errors = threadkeep(tmp_path, stack, "erase-user", user, "--yes", "--json")
    assert status == 0, errors
    assert json.loads(receipt)["removed"]["clickhouse"]["messages"] >= 1
    status, trail, _ = threadkeep(tmp_path, stack, "audit", "--action", "user.erased", "--json")
    assert status == 0
    assert json.loads(trail)[0]["subject"] == f"user:{user}"
    assert json.loads(trail)[0]["actor"].startswith("cli:")


def test_the_worker_carries_on_what_nobody_waits_for(
    api: Api, services: Services, user: str, celery: Celery
) -> None:
    made = api.send("t", "to be erased")
    wait_until(api, "archived", [made])
    # As by a process that dies once it has marked the user.
    services.jobs.user_erasure.request(user, by="a test")
    # Data still in the tiers is hidden.
    reply = api.get("/api/threads/t/messages")
    assert reply.status_code == 404 or reply.json()["messages"] == []
    problem(api.get(f"/api/messages/{made['id']}"), 404, "not_found")
    # Beat sends this every quarter of a minute.
    celery.send_task("erase.finish_user_erasures", queue="maintenance")
    eventually(lambda: services.jobs.user_erasure.receipt(user).state == "done", seconds=40)
