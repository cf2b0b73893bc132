"""Checks over HTTP and by the command line, on the running system."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jobs.consistency.report import Scope
from storage.messages.posts import Draft
from storage.postgres import locks
from support.calls import commands
from support.calls.api import Api, ok, problem
from support.data.moving import wait_until
from support.faults import damage
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services


def finished(api: Api, report_id: int) -> dict[str, Any]:
    def newest() -> dict[str, Any] | None:
        report = ok(api.get("/api/admin/consistency"))
        return report if report["id"] >= report_id and report["state"] != "running" else None

    return eventually(newest, seconds=60)


def started(api: Api, **body: Any) -> int:
    """Starts a check as soon as no other one runs."""

    def start() -> int:
        reply = api.post("/api/admin/check-consistency", json=body)
        return int(ok(reply, 202)["report_id"])

    return eventually(start, seconds=60)


def test_a_check_names_and_mends_beside_the_running_system(
    api: Api, admin_api: Api, services: Services, user: str
) -> None:
    sent = [api.send("t", f"message {n}") for n in range(3)]
    wait_until(api, "archived", sent)
    spoilt = services.tiers.postgres.message(user, sent[1]["id"])
    assert spoilt is not None
    damage.in_postgres(services, "content = 'x'", spoilt[0])
    damage.drop_from_redis(services, spoilt[0])
    # Readers get the sound copy of another tier.
    assert api.get(f"/api/messages/{sent[1]['id']}").json()["content"] == "message 1"
    assert api.page("t", order="asc")["messages"][1]["content"] == "x"

    scope = {"user_id": user}
    found = finished(admin_api, started(admin_api, scope=scope))
    assert [(one["id"], one["kind"], one["tier"]) for one in found["differences"]] == [
        (sent[1]["id"], "damaged", "postgresql")
    ]
    assert found["pairs"]["postgresql-clickhouse"]["compared"] == 3
    assert found["data_consistency_score"] < 100.0

    mended = finished(admin_api, started(admin_api, scope=scope, repair=True))
    assert (mended["differing"], mended["repaired"]) == (1, 1)
    assert api.page("t", order="asc")["messages"][1]["content"] == "message 1"
    again = finished(admin_api, started(admin_api, scope=scope))
    assert (again["differences"], again["data_consistency_score"]) == ([], 100.0)

    (entry, *_) = services.jobs.audit.entries(action="consistency.repair", limit=1)
    assert entry.subject == f"consistency:{user}/*"
    assert entry.counts == {"repaired:damaged_in_postgresql": 1}
    assert entry.details["ids"] == {"repaired:damaged_in_postgresql": [sent[1]["id"]]}


def test_one_check_at_a_time(admin_api: Api, services: Services) -> None:
    with services.jobs.consistency_checker.reports.alone():
        reply = admin_api.post("/api/admin/check-consistency", json={})
        problem(reply, 409, "check_running")


def test_a_scope_that_is_none_is_refused(admin_api: Api) -> None:
    for scope in ({"user": "ann"}, {"thread_id": "no spaces"}, {"user_id": ""}):
        reply = admin_api.post("/api/admin/check-consistency", json={"scope": scope})
        assert reply.status_code == 422, reply.text


def test_health_shows_the_score_of_the_last_check_of_everything(
    admin_api: Api, services: Services, token: Callable[..., str]
) -> None:
    def check() -> Any:
        return services.jobs.consistency_checker.check(actor="test")

    report = eventually(check, seconds=60)
    health = ok(admin_api.get("/health/persistence"))
    assert health["data_consistency_score"] == report.data_consistency_score
    assert 0 <= health["data_consistency_age_seconds"] < 60


def threadkeep(folder: Path, env: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = commands.threadkeep(folder, env, *arguments)
    return done.returncode, done.stdout.decode()


def test_the_command_says_what_differs_and_by_its_status_whether_it_still_does(
    stack: Launched, api: Api, services: Services, user: str, tmp_path: Path
) -> None:
    sent = [api.send("t", "hello")]
    wait_until(api, "archived", sent)
    spoilt = services.tiers.postgres.message(user, sent[0]["id"])
    assert spoilt is not None
    damage.in_clickhouse(services, "UPDATE content = 'x'", spoilt[0])

    status, shown = threadkeep(tmp_path, stack.env, "check", "--user", user)
    assert status == 1
    assert sent[0]["id"] in shown
    assert "  damaged in clickhouse" in shown
    status, shown = threadkeep(tmp_path, stack.env, "check", "--user", user, "--repair", "--json")
    assert status == 0
    assert json.loads(shown)["repaired"] == 1
    status, shown = threadkeep(tmp_path, stack.env, "check", "--user", user)
    assert (status, "data consistency 100.0 %" in shown) == (0, True)


def test_what_was_deleted_before_a_worker_came_to_it_is_no_difference_and_stays_gone(
    stack: Launched, api: Api, services: Services, user: str, tmp_path: Path
) -> None:
    wait_until(api, "archived", [api.send("t", "first")])
    with services.tiers.job_engine.connect() as other:
        # No worker gets to the slot between the two calls.
        locks.lock_slots(other, [services.tiers.redis.slot_of_thread(user, "t")])
        made = api.send("t", "secret")
        assert api.delete("/api/threads/t").status_code == 204
        receipt = api.receipt(made["id"])
        assert (receipt["state"], receipt["tiers"]["redis"]["pending"]) == ("deleted", True)
        other.rollback()
    eventually(lambda: problem(api.get(f"/api/messages/{made['id']}/receipt"), 404, "not_found"))
    for arguments in (("check",), ("check", "--repair")):
        status, shown = threadkeep(tmp_path, stack.env, *arguments, "--user", user)
        assert (status, "data consistency 100.0 %" in shown) == (0, True), shown
        for path in ("/api/threads/t", "/api/threads/t/messages", f"/api/messages/{made['id']}"):
            problem(api.get(path), 404, "not_found")


def test_a_check_beside_writers_names_nothing(services: Services, user: str) -> None:
    stop = threading.Event()

    def write(number: int) -> int:
        own = services.messages
        written = 0
        while not stop.is_set():
            made = own.post(user, f"t{number}", Draft("user", f"message {written}", {}))
            edited = own.edit(
                user, made.message.id, content="edited", metadata=None, if_version={1}
            )
            if written % 3 == 0:
                own.delete(user, edited.message.id, if_version={2})
            written += 1
        return written

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(4)]
        try:
            reports = [
                services.jobs.consistency_checker.check(Scope(user_id=user), actor="test")
                for _ in range(2)
            ]
        finally:
            stop.set()
        written = [writer.result() for writer in writers]
    assert [report.differences for report in reports] == [[]] * 2
    assert min(written) > 0
    assert reports[-1].compared > reports[0].compared
