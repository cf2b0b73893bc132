"""What the chat page lists and opens: addresses typed by hand, many threads, requested receipts."""

import pytest
from playwright.sync_api import Request, expect

from support.calls.api import Api, ok
from support.calls.console import Console
from support.waiting import eventually

pytestmark = pytest.mark.browser

RECEIPT = "/receipt"
AT_ONCE = 3
NOBODYS = "01a1fe12-0000-7000-8000-000000000000"


def test_an_address_typed_by_hand_breaks_nothing(
    console: Console, browser_token: str, thread: str
) -> None:
    console.sign_in(browser_token, "/#/%zz")
    toasts = console.page.locator(".toast")
    expect(toasts).to_have_text("There is nothing at this address.")
    for address in ("#/t/nonsense", "#/a/b/c", "#/%20", "#/%"):
        console.turn(address)
        eventually(lambda: console.page.evaluate("() => location.hash") == "#/")
    console.turn("#/nobodys")
    expect(toasts.filter(has_text="This thread does not exist.")).to_have_count(1)
    console.turn(f"#/t/{NOBODYS}")
    expect(toasts.filter(has_text="This message does not exist.")).to_have_count(1)
    expect(console.page.locator("#thread-name")).to_have_text(thread)
    skip = console.page.get_by_role("link", name="Skip to the content")
    skip.press("Enter")
    expect(console.page.locator("#main")).to_be_focused()
    expect(console.page.locator("#thread-name")).to_have_text(thread)
    expect(console.message("what was there before")).to_be_visible()


def test_many_threads_stay_listed_while_news_come(
    console: Console, browser_token: str, own_api: Api
) -> None:
    ok(own_api.post("/api/threads", json={"id": "old", "title": "The oldest of all"}), 201)
    own_api.send("old", "needle")
    items = [{"thread_id": f"n{number}", "message": "x"} for number in range(90)]
    ok(own_api.post("/api/messages:batch", json={"messages": items}))
    console.sign_in(browser_token)
    console.is_live()
    rows = console.page.locator("#threads a")
    expect(rows).to_have_count(40)
    console.page.get_by_label("Search all messages").fill("needle")
    # Its thread is not listed yet, but its title is shown.
    expect(console.page.locator("#results a")).to_contain_text("The oldest of all")
    console.page.keyboard.press("Escape")
    for count in (80, 91):
        console.page.locator("#threads-more").scroll_into_view_if_needed()
        expect(rows).to_have_count(count)
    with console.page.expect_response(lambda reply: "/api/threads?" in reply.url):
        own_api.send("n3", "news")
    expect(rows.first).to_contain_text("news")
    assert own_api.delete("/api/threads/old").status_code == 204
    expect(rows).to_have_count(90)


def test_only_what_is_seen_is_asked_for_and_little_at_a_time(
    console: Console, browser_token: str, own_api: Api
) -> None:
    made = own_api.send_many("many", 40)
    eventually(lambda: own_api.receipt(made[-1]["id"])["state"] == "archived")
    asked: list[str] = []
    open_now: set[Request] = set()
    most = 0

    def begun(request: Request) -> None:
        nonlocal most
        if request.url.endswith(RECEIPT):
            asked.append(request.url)
            open_now.add(request)
            most = max(most, len(open_now))

    console.page.on("request", begun)
    console.page.on("requestfinished", lambda request: open_now.discard(request))
    console.sign_in(browser_token)
    console.open_thread("many")
    shown = console.page.locator(".message")
    expect(shown).to_have_count(40)
    for message in (shown.last, shown.nth(36)):
        expect(message.locator(".state")).to_have_text("Archived")
    expect(shown.first.locator(".state")).to_have_text("Asking…")
    assert 1 <= most <= AT_ONCE
    assert len(asked) == len(set(asked)) < 40
    # An edited message is not in its last state any more.
    ok(own_api.patch(f"/api/messages/{made[-1]['id']}", json={"message": "changed"}))
    expect(shown.last).to_contain_text("version 2")
    expect(shown.last.locator(".state")).to_have_text("Archived")
