"""The store of the version before this one, run by this one: what it acknowledged is there, what it
had not carried on goes on, and what it promised holds."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import webapp
from embedded.supervision.process import Spec
from selftest.bed.launching import Launched, clean_environment
from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.data.moving import wait_until
from support.stack.processes import PATIENT
from support.waiting import eventually

PREVIOUS = "bd4d734b2e267fe73fceb7ab9f0d8f74d2e50013"
"""The commit of version 0.1.0 (CHANGELOG.md). A release names the one before it here."""
ROOT = Path(webapp.__file__).resolve().parents[1]
UP = "import sys; from webapp.cli import main; sys.argv[0] = 'threadkeep'; main()"
PORTS = ("--port", "0", "--flower-port", "0", "--without", "flower", "--without", "realtime")
KEY = {"Idempotency-Key": "k"}


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the version before, from the history of this clone."""
    folder = tmp_path_factory.mktemp("previous")
    archived = subprocess.run(
        ("git", "archive", PREVIOUS), cwd=ROOT, capture_output=True, check=False
    )
    if archived.returncode:
        pytest.skip("this copy has no history with the version before")
    subprocess.run(("tar", "-x"), cwd=folder, input=archived.stdout, check=True)
    return folder


def started(sources: Path, folder: Path) -> Launched:
    """A stack of these sources on the folder's data."""
    env = clean_environment() | PATIENT | {"PYTHONPATH": str(sources)}
    command = (sys.executable, "-P", "-c", UP, "up", *PORTS)
    spec = Spec(name="up", command=command, env=env, cwd=folder)
    data = folder / ".threadkeep"
    return Launched(spec, lambda: data, data / "run" / "env", folder / "up.log")


@pytest.fixture(scope="module")
def upgraded(
    previous: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Launched, dict[str, Any]]]:
    """A stack of this version on the other's data, and what that one had answered."""
    folder = tmp_path_factory.mktemp("upgraded")
    with started(previous, folder) as stack:
        answered = used(api_of(stack, folder), stack)
    with started(ROOT, folder) as stack:
        yield stack, answered


def api_of(stack: Launched, folder: Path) -> Api:
    return Api(stack.url, threadkeep(folder, stack.env, "token", "ann").stdout.decode().strip())


def used(api: Api, stack: Launched) -> dict[str, Any]:
    """Leaves something of each kind, some of it in the log alone."""
    first = api.send("old", "unforgettable weather")
    edited = api.send("old", "before")
    deleted = api.send("old", "gone")
    ok(api.patch(f"/api/messages/{edited['id']}", json={"message": "after"}))
    ok(api.delete(f"/api/messages/{deleted['id']}"))
    ok(api.patch("/api/threads/old", json={"title": "An old thread"}))
    state = {"version": 0, "state": {"step": 1}}
    ok(api.call("PUT", "/api/runs/r/state", json=state))
    wait_until(api, "archived", [first])
    stack.signal("worker", signal.SIGSTOP)
    keyed = ok(api.post("/api/threads/new/messages", json={"message": "late"}, headers=KEY))
    logged = api.send_many("new", 30)
    stack.signal("worker", signal.SIGKILL)
    return {
        "first": first,
        "deleted": deleted,
        "keyed": keyed,
        "logged": [keyed, *logged],
        "pages": {name: api.page(name)["messages"] for name in ("old", "new")},
        "state": ok(api.get("/api/runs/r/state")),
    }


def test_what_was_acknowledged_is_there(
    upgraded: tuple[Launched, dict[str, Any]], tmp_path: Path
) -> None:
    stack, answered = upgraded
    api = api_of(stack, tmp_path)
    for name, messages in answered["pages"].items():
        assert api.page(name)["messages"] == messages
    wait_until(api, "archived", answered["logged"])
    problem(api.get(f"/api/messages/{answered['deleted']['id']}"), 404, "not_found")
    assert ok(api.get("/api/threads/old"))["title"] == "An old thread"
    state = ok(api.get("/api/runs/r/state"))
    assert (state["state"], state["version"]) == ({"step": 1}, answered["state"]["version"])
    found = eventually(lambda: ok(api.get("/api/search?q=unforgettable"))["messages"])
    assert [one["id"] for one in found] == [answered["first"]["id"]]


def test_what_was_promised_holds(upgraded: tuple[Launched, dict[str, Any]], tmp_path: Path) -> None:
    stack, answered = upgraded
    api = api_of(stack, tmp_path)
    again = api.post("/api/threads/new/messages", json={"message": "late"}, headers=KEY)
    assert (ok(again)["id"], again.headers["Idempotency-Replayed"]) == (
        answered["keyed"]["id"],
        "true",
    )
    other = api.post("/api/threads/new/messages", json={"message": "other"}, headers=KEY)
    problem(other, 422, "idempotency_key_reused")
    edit = {"message": "in this version"}
    path = f"/api/messages/{answered['first']['id']}"
    assert ok(api.patch(path, json=edit, headers={"If-Match": '"1"'}))["version"] == 2


def test_the_tiers_agree_afterwards(
    upgraded: tuple[Launched, dict[str, Any]], tmp_path: Path
) -> None:
    stack, answered = upgraded
    wait_until(api_of(stack, tmp_path), "archived", answered["logged"])
    done = threadkeep(tmp_path, stack.env, "check", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["data_consistency_score"]) == (0, 100), report
