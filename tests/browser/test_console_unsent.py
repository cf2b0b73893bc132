"""No typed text is lost, whatever happens to the page, the server or the thread."""

import pytest
from playwright.sync_api import Route, expect

from support.calls.api import Api, ok
from support.calls.console import WAIT_MS, Console
from support.waiting import eventually

pytestmark = pytest.mark.browser

POSTS = "**/api/threads/t/messages"
DRAFT = "half a thought 🌱"
RECORD_WAITING = """
() => {
  window.waited = "";
  const note = () => {
    for (const one of document.querySelectorAll(".message.waiting")) waited += one.textContent;
  };
  new MutationObserver(note).observe(document.getElementById("messages"),
    {childList: true, subtree: true, characterData: true});
}
"""


def contents(api: Api) -> list[str]:
    return [one["content"] for one in api.page("t", order="asc")["messages"]]


def test_what_could_not_be_sent_is_sent_once_over_a_reload(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    """The answer is lost, not the message: the same key finds it again."""
    console.sign_in(browser_token)
    console.open_thread(thread)

    def answered_to_nobody(route: Route) -> None:
        if route.request.method == "POST":
            route.fetch()
        route.abort()

    console.page.route(POSTS, answered_to_nobody)
    console.send("only once")
    unsent = console.page.locator(".message.waiting")
    expect(unsent).to_contain_text("Not sent yet")
    expect(console.page.locator("#threads a")).to_contain_text("1 not sent")
    console.page.on("dialog", lambda asked: asked.accept())
    console.page.unroute(POSTS)
    console.page.reload()
    expect(console.page.locator(".unsent")).to_have_count(0)
    expect(console.message("only once")).to_have_count(1)
    assert contents(own_api).count("only once") == 1


def test_a_server_that_is_busy_is_asked_again_when_it_said(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.open_thread(thread)
    answers = [429]

    def busy(route: Route) -> None:
        if route.request.method != "POST" or not answers:
            route.continue_()
            return
        route.fulfill(status=answers.pop(0), headers={"Retry-After": "1"}, body="<p>no JSON")

    console.page.route(POSTS, busy)
    console.page.evaluate(RECORD_WAITING)
    console.send("first")
    console.send("second")
    # It says so for a second.
    eventually(lambda: "Not sent yet, retrying" in console.page.evaluate("() => waited"))
    expect(console.page.locator(".unsent")).to_have_count(0)
    assert answers == []
    assert contents(own_api)[1:] == ["first", "second"]


def test_what_is_refused_for_good_waits_for_its_writer(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.open_thread(thread)
    refusal = {"code": "no", "detail": "not today"}

    def refused(route: Route) -> None:
        route.fulfill(status=422, json=refusal)

    console.page.route(POSTS, refused)
    console.send("refused")
    failed = console.page.locator(".message.failed")
    expect(failed).to_contain_text("Not sent: not today.")
    console.page.unroute(POSTS)
    console.send("the next one")
    expect(console.message("the next one").locator(".state")).to_be_visible()
    expect(failed).to_have_count(1)
    failed.get_by_role("button", name="Discard").click()
    expect(failed).to_have_count(0)
    assert contents(own_api)[1:] == ["the next one"]


def test_a_browser_without_network_keeps_what_is_written(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.is_live()
    console.open_thread(thread)
    console.page.context.set_offline(True)
    try:
        console.send("one")
        console.send("two")
        expect(console.page.locator("#banner")).to_contain_text("You are offline")
        expect(console.page.locator(".unsent")).to_have_count(2)
        own_api.send("t", "said meanwhile", role="assistant")
    finally:
        console.page.context.set_offline(False)
    expect(console.page.locator(".unsent")).to_have_count(0, timeout=WAIT_MS)
    expect(console.page.locator("#banner")).to_be_hidden(timeout=WAIT_MS)
    expect(console.message("said meanwhile")).to_have_count(1, timeout=WAIT_MS)
    assert contents(own_api)[1:] == ["said meanwhile", "one", "two"]
    # The browser itself logs that a socket found no network.
    console.complaints[:] = [one for one in console.complaints if "WebSocket" not in one]


def test_a_draft_outlives_a_token_and_who_signs_out_leaves_nothing(
    console: Console, browser_token: str, expired_token: str, thread: str
) -> None:
    console.sign_in(browser_token)
    console.open_thread(thread)
    field = console.page.get_by_label("Message", exact=True)
    field.fill(DRAFT)
    console.page.evaluate("(old) => sessionStorage.setItem('threadkeep.token', old)", expired_token)
    console.page.get_by_role("button", name="Archived", exact=True).click()
    expect(console.page.locator("#sign-in-note")).to_contain_text("sign in again")
    console.try_token(browser_token)
    expect(field).to_have_value(DRAFT)
    console.page.get_by_role("button", name="Sign out").click()
    question = console.page.get_by_role("dialog")
    expect(question).to_contain_text("Unsent messages and drafts are deleted")
    question.get_by_role("button", name="Sign out").click()
    expect(console.page.get_by_label("Token")).to_be_visible()
    kept = console.page.evaluate("() => JSON.stringify({...sessionStorage, ...localStorage})")
    assert DRAFT not in kept
    assert browser_token not in kept + console.page.url
    assert console.page.get_by_text(thread).count() == 0


def test_a_thread_that_is_deleted_elsewhere_takes_no_draft_along(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.is_live()
    console.open_thread(thread)
    field = console.page.get_by_label("Message", exact=True)
    field.fill(DRAFT)
    assert own_api.delete("/api/threads/t").status_code == 204
    note = console.page.locator("#messages-note")
    expect(note).to_contain_text("This thread was deleted.")
    expect(field).to_have_value(DRAFT)
    expect(console.page.locator(".message")).to_have_count(0)
    field.press("Enter")
    expect(console.message(DRAFT).locator(".state")).to_be_visible()
    expect(note).to_have_text("")
    assert contents(own_api) == [DRAFT]
    assert own_api.delete("/api/threads/t").status_code == 204
    expect(console.page.locator("#conversation")).to_be_hidden()
    expect(console.page.get_by_text("This thread was deleted.")).to_be_visible()
    assert eventually(lambda: console.page.evaluate("() => location.hash") == "")


def test_a_change_that_somebody_else_overtook_is_not_lost(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.sign_in(browser_token)
    console.open_thread(thread)
    shown = console.page.locator(".message")
    shown.press("e")
    console.page.get_by_label("The message's new text").fill("mine")
    (one,) = own_api.page("t")["messages"]
    ok(own_api.patch(f"/api/messages/{one['id']}", json={"message": "theirs"}))
    console.page.keyboard.press("Enter")
    expect(console.page.locator(".toast")).to_contain_text("somebody else changed it")
    console.page.keyboard.press("Enter")
    expect(shown.locator(".body")).to_have_text("mine")
    expect(shown).to_be_focused()
    assert contents(own_api) == ["mine"]


def test_a_long_message_is_folded_and_one_that_is_too_long_stays_in_its_place(
    console: Console, browser_token: str, thread: str, own_api: Api
) -> None:
    console.page.set_viewport_size({"width": 360, "height": 740})
    text = "\n".join(f"line {number} of many, مرحبا and 京都" for number in range(1_500))
    own_api.send("t", text)
    console.sign_in(browser_token)
    console.open_thread(thread)
    body = console.message("line 7 of").locator(".body")
    expect(body).to_have_class("body folded")
    assert body.evaluate("(one) => one.clientHeight") < 740
    console.page.get_by_role("button", name="Show all").click()
    expect(console.page.get_by_role("button", name="Show less")).to_be_visible()
    assert body.evaluate("(one) => one.clientHeight") > 20_000
    assert not console.overflows()
    field = console.page.get_by_label("Message", exact=True)
    field.fill("ü" * 33 * 1024)
    console.page.get_by_role("button", name="Send").click()
    expect(console.page.locator("#composer-note")).to_have_text("67,584 of 65,536 bytes")
    assert len(field.input_value()) == 33 * 1024
