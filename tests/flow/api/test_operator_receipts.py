"""Where anybody's message is, for operators: over HTTP and by command."""

import json
from pathlib import Path

from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.data.moving import wait_until
from support.faults.outages import post, without
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services

NOBODYS = "01a1fc13-2a0f-788d-90e0-8acba3010624"


def entries(admin_api: Api, user: str, action: str = "receipt.read") -> list[dict[str, str]]:
    page = ok(admin_api.get("/api/admin/audit", params={"action": action}))
    return [one for one in page["entries"] if one["subject"] == f"user:{user}"]


def test_an_admin_is_told_where_anybodys_message_is_and_the_look_is_recorded(
    api: Api, admin_api: Api
) -> None:
    sent = api.send("t", "hello")
    wait_until(api, "archived", [sent])
    path = f"/api/admin/messages/{sent['id']}/receipt"
    found = ok(admin_api.get(path))
    assert found == api.receipt(sent["id"]) | {"user_id": sent["user_id"]}
    problem(api.get(path), 403, "forbidden")
    (entry,) = entries(admin_api, sent["user_id"])
    assert entry["details"] == {"message": sent["id"]}
    # What its owner sees of it is no secret of theirs.
    api.receipt(sent["id"])
    assert len(entries(admin_api, sent["user_id"])) == 1


def test_no_message_is_not_found(admin_api: Api, stack: Launched, tmp_path: Path) -> None:
    for name in (NOBODYS, "nonsense"):
        problem(admin_api.get(f"/api/admin/messages/{name}/receipt"), 404, "not_found")
    missing = threadkeep(tmp_path, stack.env, "where", NOBODYS)
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert b"no tier has this message" in missing.stderr
    assert threadkeep(tmp_path, stack.env, "where", "nonsense").returncode == 2


def test_the_command_names_the_owner_and_every_tier(
    api: Api, admin_api: Api, stack: Launched, tmp_path: Path
) -> None:
    sent = api.send("t", "hello")
    wait_until(api, "archived", [sent])
    done = threadkeep(tmp_path, stack.env, "where", sent["id"])
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for word in (sent["user_id"], "archived", "Redis", "PostgreSQL", "ClickHouse"):
        assert word in text
    found = json.loads(threadkeep(tmp_path, stack.env, "where", sent["id"], "--json").stdout)
    assert found == api.receipt(sent["id"]) | {"user_id": sent["user_id"]}
    actors = {entry["actor"] for entry in entries(admin_api, sent["user_id"])}
    assert {actor.partition(":")[0] for actor in actors} == {"cli"}


def test_it_is_told_by_the_tiers_that_answer(services: Services, user: str) -> None:
    """Also without PostgreSQL, where the look is a line of the log."""
    done = post(services, user, "hello")
    message = done.message.id

    def in_clickhouse() -> bool:
        return services.receipts.receipt(user, message).state == "archived"

    eventually(in_clickhouse)
    for out in (("redis",), ("database",), ("clickhouse",), ("redis", "database")):
        looked = without(services, *out).jobs.operator_receipts.receipt(message, by="cli:test")
        assert (looked.user_id, looked.id) == (user, message)
        silent = {tier for tier, one in looked.tiers.items() if one.present is None}
        names = {"database": "postgresql"}
        assert silent == {names.get(one, one) for one in out}


def test_an_export_is_recorded(api: Api, admin_api: Api, stack: Launched, tmp_path: Path) -> None:
    sent = api.send("t", "hello")
    done = threadkeep(tmp_path, stack.env, "export", "--user", sent["user_id"])
    assert b"hello" in done.stdout
    assert len(entries(admin_api, sent["user_id"], "messages.exported")) == 1
