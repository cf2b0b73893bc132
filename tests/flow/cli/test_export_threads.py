"""Titles of threads are exported and imported with their messages."""

import json
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text

from jobs.transfer.export import MessageExporter
from jobs.transfer.formats import thread_lines
from models.message import Message, Thread
from storage.clickhouse.pages import Selection
from support.calls.api import Api, ok
from support.calls.commands import threadkeep
from support.data.importing import run_import
from support.data.samples import message
from support.stack.processes import Launched
from wiring.process import Services


def exported(stack: Launched, folder: Path, *options: str) -> list[dict[str, Any]]:
    done = threadkeep(folder, stack.env, "export", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def imported(stack: Launched, folder: Path, rows: list[dict[str, Any]], *options: str) -> Any:
    stdin = b"\n".join(map(msgspec.json.encode, rows))
    done = threadkeep(folder, stack.env, "import", "-", "--json", *options, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def threads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The threads' own data, of any user."""
    found = [one["thread"] for one in rows if "thread" in one]
    return [{name: value for name, value in one.items() if name != "user_id"} for one in found]


def test_titles_and_threads_without_messages_come_back(
    stack: Launched, api: Api, other_api: Api, tmp_path: Path, user: str
) -> None:
    metadata = {"a": ["\u00e9", 1, {}]}
    ok(api.post("/api/threads", json={"id": "empty", "title": "Nothing yet"}), 201)
    ok(api.post("/api/threads", json={"id": "named", "title": "First", "metadata": metadata}), 201)
    ok(api.patch("/api/threads/named", json={"title": "Second", "is_pinned": True}))
    ok(api.post("/api/threads", json={"id": "gone", "title": "Deleted"}), 201)
    assert api.delete("/api/threads/gone").status_code == 204
    for thread in ("named", "opened"):
        api.send(thread, "hello")
    rows = exported(stack, tmp_path, "--user", user)
    assert [one.get("thread_id") or one["thread"]["id"] for one in rows] == [
        "empty",
        "named",
        "named",
        "opened",
        "opened",
    ]
    assert threads(exported(stack, tmp_path, "--user", user, "--thread", "named")) == [
        threads(rows)[1]
    ]
    heir = f"{user}-heir"
    done = imported(stack, tmp_path, rows, "--user", heir)
    assert (done["written"], done["threads"]) == (2, 3)
    again = exported(stack, tmp_path, "--user", heir)
    assert threads(again) == threads(rows)
    assert [one["title"] for one in threads(rows)] == ["Nothing yet", "Second", None]
    assert threads(rows)[1]["metadata"] == metadata
    assert threads(rows)[1]["is_pinned"]
    # And once is enough.
    for owner, some in ((user, rows), (heir, again)):
        done = imported(stack, tmp_path, some)
        assert (done["written"], done["threads"], done["unchanged"]) == (0, 0, 2)
        assert exported(stack, tmp_path, "--user", owner) == some


def test_a_name_comes_to_a_thread_that_only_messages_opened(
    services: Services, api: Api, user: str
) -> None:
    api.send("t", "hello")
    services.jobs.persistence.drain_backlog()
    assert ok(api.get("/api/threads/t"))["title"] is None
    line = {"id": "t", "user_id": user, "title": "Named", "created_at": "2020-01-01T00:00:00Z"}
    named = thread_lines.decode(msgspec.json.encode({"thread": line}), None)
    assert run_import(services, [named]).threads == 1
    assert ok(api.get("/api/threads/t"))["title"] == "Named"
    assert run_import(services, [named]).threads == 0
    # An older name changes nothing, and what was deleted stays deleted.
    renamed = msgspec.structs.replace(named, title="Other")
    assert run_import(services, [renamed]).threads == 0
    assert api.delete("/api/threads/t").status_code == 204
    services.jobs.persistence.drain_backlog()
    assert run_import(services, [msgspec.structs.replace(named, version=99)]).threads == 0
    assert api.get("/api/threads/t").status_code == 404


def test_nothing_of_who_was_erased_goes_out_or_comes_in(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    made = message(user, "t")
    run_import(services, [made])
    insert = text(
        "INSERT INTO user_erasures (user_id, erased_through, erased_at, requested_by,"
        " requested_at, receipt, finished_at) VALUES (:user, :through, clock_timestamp(), 'admin',"
        " clock_timestamp(), '{}', clock_timestamp())"
    )
    with services.tiers.job_engine.begin() as connection:
        connection.execute(insert, {"user": user, "through": made.id})
    assert list(exporter.everything(Selection(user))) == []
    thread = Thread(
        version=9,
        id="t",
        user_id=user,
        title="title",
        metadata={},
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    done = run_import(services, [thread, message(user, "t", time_us=10**15)])
    assert (done.threads, done.written, done.deleted) == (0, 0, 1)
    later = message(user, "other")
    run_import(services, [later])
    found = list(exporter.everything(Selection(user)))
    assert [one for one in found if isinstance(one, Message)] == [later]
