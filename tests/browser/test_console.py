"""The chat page of the console, in a real browser on a real stack."""

import signal

import pytest
from playwright.sync_api import BrowserContext, expect

from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import DAY_SECONDS, TieringRules
from jobs.transfer.bulk_import import BulkImporter
from support.calls.api import Api, ok
from support.calls.console import WAIT_MS, Console, tab
from support.data.samples import message
from support.stack.processes import Launched
from support.stack.tiers import tiers
from support.waiting import eventually

pytestmark = pytest.mark.browser

OLD_US = 32_000_000_000_000
"""In January 1971, from which no other message of this stack is."""
OLD_DAYS = 18_000
RECORD_STATES = """
() => {
  window.states = [];
  const note = () => {
    const words = [...document.querySelectorAll(".message .state")].at(-1)?.textContent;
    if (words && words !== states.at(-1)) states.push(words);
  };
  new MutationObserver(note).observe(document.getElementById("messages"),
    {childList: true, subtree: true, characterData: true});
}
"""


def test_a_message_is_sent_and_seen_to_get_to_every_tier(
    console: Console, open_stack: Launched, browser_token: str, thread: str
) -> None:
    console.open()
    console.try_token(browser_token)
    console.is_live()
    console.open_thread(thread)
    console.page.evaluate(RECORD_STATES)
    open_stack.signal("worker", signal.SIGSTOP)
    try:
        sent = console.send("Hallo Welt 👋 <b>&amp;</b>")
        expect(sent.locator(".state")).to_have_text("Acknowledged · Redis", timeout=WAIT_MS)
    finally:
        open_stack.signal("worker", signal.SIGCONT)
    expect(sent.locator(".state")).to_have_text("Archived", timeout=WAIT_MS)
    states = console.page.evaluate("() => states")
    # If it was in ClickHouse before the page learnt of PostgreSQL, one step is skipped.
    seen = states[states.index("Acknowledged · Redis") :]
    assert [one for one in seen if one != "Persisted"] == ["Acknowledged · Redis", "Archived"]
    assert seen[1:-1] in (["Persisted"], [])
    expect(sent.locator(".body")).to_have_text("Hallo Welt 👋 <b>&amp;</b>")
    sent.locator(".state").click()
    receipt = console.page.get_by_role("dialog")
    expect(receipt.locator(".tiers li.there")).to_have_count(3)
    console.page.keyboard.press("Escape")
    expect(receipt).to_have_count(0)


def test_an_archived_message_says_that_clickhouse_alone_keeps_it(
    console: Console, open_stack: Launched, own_api: Api, browser_token: str
) -> None:
    user = ok(own_api.get("/api/console"))["user_id"]
    with tiers(open_stack.env) as services:
        one = message(user, "old", "from long ago", time_us=OLD_US)
        importer = BulkImporter(services.tiers)
        list(importer.run([one]))
        rules = TieringRules(DAY_SECONDS, OLD_DAYS * DAY_SECONDS)
        *_, done = services.jobs.archive.archive_partitions(ArchiveRequest(rules, 0, "tester"))
        assert done.stopped + done.waiting == 0
    console.sign_in(browser_token)
    console.open_thread("old")
    state = console.message("from long ago").locator(".state")
    expect(state).to_have_text("Archived", timeout=WAIT_MS)
    state.click()
    receipt = console.page.get_by_role("dialog")
    expect(receipt).to_contain_text("PostgreSQL does not hold it")
    expect(receipt).to_contain_text("ClickHouse has it")


def test_another_tab_sees_messages_edits_and_deletions_live(
    browser: BrowserContext, open_stack: Launched, browser_token: str, thread: str, own_api: Api
) -> None:
    with tab(browser, open_stack) as writer, tab(browser, open_stack) as reader:
        for console in (writer, reader):
            # A browser slows down background tabs.
            console.page.bring_to_front()
            console.sign_in(browser_token)
            console.is_live()
            console.open_thread(thread)
        writer.send("first")
        expect(reader.message("first")).to_have_count(1)
        expect(writer.message("first")).to_have_count(1)
        expect(reader.page.locator("#heard")).to_have_text("You: first")
        expect(reader.page.locator("#thread-facts")).to_have_text("2 messages", timeout=WAIT_MS)

        writer.page.bring_to_front()
        writer.message("first").get_by_label("Edit").click()
        writer.page.get_by_label("The message's new text").fill("second")
        writer.page.keyboard.press("Enter")
        expect(reader.message("second")).to_contain_text("version 2")

        writer.message("second").get_by_label("Delete").click()
        writer.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(reader.message("second")).to_have_count(0)
        expect(writer.message("second")).to_have_count(0)
        assert [one["content"] for one in own_api.page("t")["messages"]] == [
            "what was there before"
        ]


def test_an_answer_grows_while_it_is_written(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.is_live()
    console.open_thread(thread)
    made = ok(own_api.post("/api/threads/t/messages:stream", json={}), 201)
    growing = console.page.locator(".message.streaming")
    for text, whole in (("Grüße, ", "Grüße, "), ("Wört", "Grüße, Wört")):
        ok(own_api.post(f"/api/messages/{made['id']}/chunks", json={"text": text}))
        expect(growing.locator(".body")).to_have_text(whole.strip())
    ok(own_api.post(f"/api/messages/{made['id']}/finish"))
    expect(growing).to_have_count(0)
    expect(console.message("Grüße, Wört").locator(".state")).not_to_have_text("Being written")


def test_a_cut_connection_says_so_comes_back_and_misses_nothing(
    console: Console, open_stack: Launched, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.is_live()
    console.open_thread(thread)
    open_stack.signal("realtime", signal.SIGKILL)
    expect(console.page.locator("#connection-words")).to_contain_text("Reconnecting")
    expect(console.page.locator("#banner")).to_contain_text("The connection is lost")
    own_api.send("t", "said meanwhile", role="assistant")
    expect(console.message("said meanwhile")).to_have_count(1, timeout=3 * WAIT_MS)
    console.is_live()
    expect(console.page.locator("#banner")).to_be_hidden()
    # The browser itself logs that a socket was refused.
    console.complaints[:] = [one for one in console.complaints if "WebSocket" not in one]


def test_old_messages_come_by_scrolling_and_found_ones_in_their_place(
    console: Console, browser_token: str, own_api: Api
) -> None:
    own_api.send_many("long", 120)
    eventually(lambda: ok(own_api.get("/api/search?q=77"))["messages"])
    console.sign_in(browser_token)
    console.open_thread("long")
    shown = console.page.locator(".message")
    expect(shown.last).to_contain_text("message 119")
    assert shown.count() == 40

    def all_shown() -> bool:
        console.page.locator("#scroller").evaluate("(box) => (box.scrollTop = 0)")
        console.page.wait_for_timeout(150)
        return shown.count() == 120

    eventually(all_shown)
    assert shown.first.locator(".body").inner_text() == "message 0"

    console.page.get_by_label("Search all messages").fill("77")
    found = console.page.locator("#results a").filter(has_text="message 77")
    expect(found.locator("mark").first).to_have_text("77")
    found.first.click()
    expect(console.page.locator(".message.found .body")).to_have_text("message 77")
    expect(console.page.locator(".message.found")).to_be_in_viewport()
    expect(console.page.locator("#results a[aria-current]")).to_have_count(1)

    # The scroll position of one thread does not carry over to another.
    own_api.send("short", "all there is")
    refused: list[str] = []
    console.page.on("response", lambda reply: refused.append(reply.url) if not reply.ok else None)
    console.page.get_by_label("Search all messages").fill("")
    console.open_thread("short")
    expect(shown).to_have_count(1)
    assert not refused


def test_a_token_that_is_not_good_is_said_to_be_none(console: Console, expired_token: str) -> None:
    console.open()
    note = console.page.locator("#sign-in-note")
    for token, why in (
        ("no.such.token", "does not accept this token"),
        (expired_token, "has expired"),
    ):
        console.try_token(token)
        expect(note).to_contain_text(why)
        assert console.page.evaluate("() => sessionStorage.length") == 0


def test_a_thread_is_begun_renamed_pinned_and_deleted_by_keys_alone(
    console: Console, browser_token: str
) -> None:
    """On the narrowest page, where nothing may overflow."""
    page = console.page
    page.set_viewport_size({"width": 360, "height": 740})
    console.sign_in(browser_token)
    page.get_by_role("button", name="New thread").press("Enter")
    page.keyboard.type("Ein sehr langes " + "W" * 120)
    page.keyboard.press("Enter")
    expect(page.locator("#thread-name")).to_contain_text("Ein sehr langes")
    console.send("x" * 300)
    expect(console.message("xxx")).to_have_count(1)
    assert not console.overflows()
    page.get_by_label("Rename the thread").press("Enter")
    page.keyboard.type("Short")
    page.keyboard.press("Enter")
    expect(page.locator("#thread-name")).to_have_text("Short")
    page.get_by_label("Pin the thread").press("Enter")
    expect(page.get_by_label("Pin the thread")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Delete the thread").press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#thread-name")).to_have_text("Short")
    page.get_by_label("Delete the thread").press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#threads-note")).to_have_text("No threads yet: start one with New.")
    assert not console.overflows()
