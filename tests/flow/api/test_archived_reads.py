"""The archive over HTTP and on the command line: the same API, whichever tier keeps a message.

The messages are from 1971, unlike all others on the shared stack, so nothing else is old enough for
these runs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import text

from jobs.archive.fence import only_archiver
from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import DAY_SECONDS, TieringRules
from jobs.transfer.bulk_import import BulkImporter
from models import ids
from models.message import Message
from storage.errors import Refused
from support.calls.api import Api, ok, problem
from support.calls.commands import threadkeep
from support.data.moving import evict
from support.data.samples import message
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services

FIRST_US = 32_000_000_000_000
"""In January 1971."""
MINUTE_US = 60_000_000
OLD_DAYS = 18_000
COUNT = 130


@pytest.fixture
def archive(services: Services) -> Iterator[Callable[[], None]]:
    """Archives old messages; afterwards nothing counts as archived any more."""

    def run() -> None:
        rules = TieringRules(DAY_SECONDS, OLD_DAYS * DAY_SECONDS)
        *_, done = services.jobs.archive.archive_partitions(ArchiveRequest(rules, 0, "tester"))
        assert done.stopped + done.waiting == 0

    yield run
    with services.tiers.job_engine.begin() as connection:
        connection.execute(text(f"UPDATE archive_boundary SET below = '{ids.LOWEST}'"))


@pytest.fixture
def thread(services: Services, archive: Callable[[], None], user: str) -> list[Message]:
    """An archived thread without copies in Redis."""
    made = [
        message(user, "t", f"message {number}", time_us=FIRST_US + number * MINUTE_US)
        for number in range(COUNT)
    ]
    list(BulkImporter(services.tiers).run(made))
    archive()
    assert rows_of(services, user) == 0
    return made


def rows_of(services: Services, user: str) -> int:
    with services.tiers.job_engine.connect() as connection:
        query = text("SELECT count(*) FROM messages WHERE user_id = :user")
        return int(connection.execute(query, {"user": user}).scalar_one())


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in found]


def test_an_archived_thread_is_listed_and_warms_redis(api: Api, thread: list[Message]) -> None:
    newest = [one.id for one in reversed(thread)]

    def warm() -> bool:
        page = api.page("t", limit=50)
        assert "warning" not in page
        assert names(page["messages"]) == newest[:50]
        return bool(page["retrieval_source"] == "redis")

    assert not warm()
    eventually(warm)
    found, sources = api.walk("t", limit=40)
    assert names(found) == newest
    assert set(sources) <= {"redis", "mixed", "clickhouse"}

    def all_warm() -> bool:
        found, sources = api.walk("t", limit=40)
        assert names(found) == newest
        return set(sources) == {"redis"}

    eventually(all_warm)
    found, _ = api.walk("t", limit=40, order="asc")
    assert names(found) == newest[::-1]


def test_the_first_look_at_an_archived_thread_comes_from_clickhouse(
    api: Api, thread: list[Message]
) -> None:
    assert api.page("t", limit=20, order="asc")["retrieval_source"] == "clickhouse"
    one = ok(api.get(f"/api/messages/{thread[7].id}"))
    assert (one["retrieval_source"], one["content"]) == ("clickhouse", "message 7")
    receipt = api.receipt(thread[7].id)
    assert receipt["state"] == "archived"


def test_an_admin_is_told_how_far_the_archive_is(
    admin_api: Api, services: Services, archive: Callable[[], None], user: str
) -> None:
    def told() -> dict[str, Any]:
        return ok(admin_api.get("/api/admin/archive"))

    def dropped() -> int:
        return int(told()["units"].get("dropped", {"messages": 0})["messages"])

    assert told()["archived_before"] is None
    before, remained = dropped(), told()["remaining"]["partitions"]
    one = message(user, "t", time_us=FIRST_US)
    list(BulkImporter(services.tiers).run([one]))
    due = told()
    assert due["remaining"]["partitions"] == remained + 1
    assert due["remaining"]["bytes"] > 0
    assert due["percent"] < 100
    with only_archiver(services.tiers.job_engine):
        assert told()["running"]
    archive()
    assert dropped() == before + 1
    assert told()["archived_before"] > one.created_at
    assert told()["stopped"] == []
    assert (told()["percent"], told()["remaining"]["partitions"]) == (100, 0)
    assert not told()["running"]


def test_archived_messages_are_edited_and_deleted_as_others_are(
    api: Api, services: Services, archive: Callable[[], None], user: str, thread: list[Message]
) -> None:
    edited, deleted, posted = thread[3].id, thread[4].id, api.send("t", "something new")["id"]
    version = api.get(f"/api/messages/{edited}").headers["ETag"]
    change = {"json": {"message": "edited"}, "headers": {"If-Match": version}}
    assert ok(api.patch(f"/api/messages/{edited}", **change))["version"] == 2
    problem(api.patch(f"/api/messages/{edited}", **change), 412, "version_conflict")
    ok(api.delete(f"/api/messages/{deleted}"))
    expected = [one.id for one in thread if one.id != deleted] + [posted]
    for archived in (False, True):
        found, _ = api.walk("t", order="asc", limit=60)
        assert names(found) == expected
        assert found[3]["content"] == "edited"
        assert api.get(f"/api/messages/{deleted}").status_code == 404
        eventually(lambda: ok(api.get("/api/threads/t"))["message_count"] == len(expected))
        if not archived:
            eventually(lambda: rows_of(services, user) == 3)
            archive()
            assert rows_of(services, user) == 1
            evict(services, found)


def test_the_command_says_what_would_go_and_what_went(
    stack: Launched, services: Services, archive: Callable[[], None], user: str, tmp_path: Path
) -> None:
    def archived_by_command(*options: str) -> str:
        done = threadkeep(tmp_path, stack.env, "archive", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    one = message(user, "t", time_us=FIRST_US)
    list(BulkImporter(services.tiers).run([one]))
    old = ("--older-than", f"{OLD_DAYS}d")
    assert "1 partitions with 1 messages" in archived_by_command(*old, "--dry-run")
    assert rows_of(services, user) == 1
    said = archived_by_command(*old)
    assert "1 messages left PostgreSQL" in said
    assert "1 partitions are kept until their grace is over" in said
    assert rows_of(services, user) == 0
    assert "1 dropped" in archived_by_command(*old, "--grace", "0")


def test_the_task_archives_what_is_old(
    services: Services, archive: Callable[[], None], celery: Celery, user: str
) -> None:
    """By the worker's own settings, which keep it for a day after that."""
    one = message(user, "t", time_us=FIRST_US)
    list(BulkImporter(services.tiers).run([one]))
    celery.send_task("archive.archive_partition", queue="maintenance")
    eventually(lambda: rows_of(services, user) == 0 and nobody_archives(services), 20)


def nobody_archives(services: Services) -> bool:
    try:
        with only_archiver(services.tiers.job_engine):
            return True
    except Refused:
        return False
