"""Admins' actions on the operations page: dead letters, the archive, drills."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from jobs.archive.fence import only_archiver
from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import DAY_SECONDS, TieringRules
from jobs.transfer.bulk_import import BulkImporter
from support.calls.api import Api, ok
from support.calls.console import WAIT_MS, Console
from support.data.samples import message
from support.faults.refusing import refusing
from support.stack.processes import Launched
from support.stack.tiers import tiers
from support.waiting import eventually
from wiring.process import Services

pytestmark = pytest.mark.browser

OLD_US = 64_000_000_000_000
"""In January 1972, from which no other message of this stack is."""
OLD_DAYS = 18_000


@pytest.fixture
def services(open_stack: Launched) -> Iterator[Services]:
    """The tiers of the stack."""
    with tiers(open_stack.env) as found:
        yield found


def test_a_dead_letter_is_shown_refused_again_replayed_and_gone(
    operations: Console, services: Services, own_api: Api, admin: Api
) -> None:
    letter = operations.page.locator(".letter")
    replay = letter.get_by_role("button", name="Replay")
    with refusing(services, "content <> 'poison'") as name:
        poison = own_api.send("t", "poison")
        eventually(lambda: ok(admin.get("/api/admin/dead-letters"))["dead_letters"])
        operations.refresh()
        expect(letter).to_contain_text(name)
        expect(letter).not_to_contain_text("poison")
        replay.press("Enter")
        expect(letter).to_contain_text("2 attempts")
        expect(operations.page.locator(".toast.trouble")).to_contain_text("stays a dead letter")
        expect(replay).to_be_focused()
    replay.press("Enter")
    expect(letter).to_have_count(0)
    expect(operations.page.locator("#no-letters")).to_be_visible()
    expect(operations.page.locator("#letters-title")).to_be_focused()
    eventually(lambda: own_api.receipt(poison["id"])["state"] == "archived")


def test_the_archive_says_how_much_remains_and_when_nothing_does(
    operations: Console, services: Services, admin: Api
) -> None:
    card = operations.page.locator("#archive")
    one = message("somebody", "old", "from long ago", time_us=OLD_US)
    list(BulkImporter(services.tiers).run([one]))
    told = ok(admin.get("/api/admin/archive"))
    assert told["remaining"]["partitions"] == 1
    operations.refresh()
    expect(card).to_contain_text("1 eligible partition")
    progress = card.get_by_role("progressbar")
    expect(progress).to_have_js_property("value", told["percent"])
    with only_archiver(services.tiers.job_engine):
        operations.refresh()
        expect(card).to_contain_text("An archiver is running.")
    rules = TieringRules(DAY_SECONDS, OLD_DAYS * DAY_SECONDS)
    list(services.jobs.archive.archive_partitions(ArchiveRequest(rules, 0, "tester")))
    operations.refresh()
    expect(card).to_contain_text("All eligible partitions are archived")
    expect(progress).to_have_js_property("value", 100)
    expect(card).not_to_contain_text("An archiver is running.")


def test_a_drill_is_begun_seen_and_ended(operations: Console) -> None:
    page = operations.page
    down = page.locator(".node.down")
    page.get_by_label("What happens").select_option("Redis is down")
    page.get_by_label("For how long").select_option("60 seconds")
    page.get_by_role("button", name="Start the drill").click()
    try:
        expect(page.locator("#drills-note")).to_contain_text("Redis is down, until")
        expect(down).to_contain_text("Redis", timeout=WAIT_MS)
        expect(down).to_contain_text("breaker open")
    finally:
        page.get_by_role("button", name="End it").click()
    expect(page.locator("#drills-note")).to_have_text("The drill is over.")
    expect(down).to_have_count(0, timeout=WAIT_MS)
