"""The operations page of the console: it shows the real state, also while a server is down."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Locator, Route, expect

from embedded.supervision import procfs
from support.calls.api import Api, ok
from support.calls.console import WAIT_MS, Console, tab
from support.stack.processes import Launched
from support.waiting import eventually

pytestmark = pytest.mark.browser

SETTLE_MS = 40_000
"""An alert is raised after some windows of two seconds each, and resolved after some more."""
RATE = re.compile(r"^[0-9.]*[1-9][0-9.]*k? /s$")
"""A figure that is not zero."""


def arrow(console: Console, name: str) -> Locator:
    return console.page.locator(f'[data-arrow="{name}"]')


@contextmanager
def without_postgres(stack: Launched) -> Iterator[None]:
    """Kills every process of PostgreSQL, and keeps the supervisor from restarting it."""
    procfs.send([stack.pid], signal.SIGSTOP)
    try:
        stack.signal("postgres", signal.SIGKILL)
        yield
    finally:
        procfs.send([stack.pid], signal.SIGCONT)


def test_the_rates_on_the_road_move_when_messages_are_posted(
    operations: Console, browser_token: str, open_stack: Launched
) -> None:
    expect(operations.page.locator("#status")).to_have_text(
        "Every message is on its way", timeout=SETTLE_MS
    )
    api = Api(open_stack.url, browser_token)

    def has_moved() -> bool:
        api.send_many("t", 50)
        names = ("acknowledge", "persist", "replicate")
        rates = [arrow(operations, name).locator(".rate").text_content() or "" for name in names]
        return all(RATE.match(rate) for rate in rates)

    eventually(has_moved, 25)
    expect(operations.page.locator("#road svg")).to_have_attribute(
        "aria-label", re.compile("Every tier answers")
    )
    acknowledged = operations.page.locator("#rate .legend dd").first
    expect(acknowledged).to_have_text(RATE, timeout=25_000)
    operations.page.locator("#road-box summary").click()
    expect(operations.page.locator("#road-table tbody tr")).to_have_count(6)


def test_an_outage_is_seen_named_and_over_when_it_is(
    operations: Console, open_stack: Launched
) -> None:
    page = operations.page
    alert = page.locator('[data-type="tier_unavailable"]').filter(has_text="postgresql")
    with without_postgres(open_stack):
        for name in ("persist", "replicate"):
            expect(arrow(operations, name)).to_have_attribute(
                "data-state", "stopped", timeout=SETTLE_MS
            )
        expect(page.locator(".node.down")).to_have_count(1)
        expect(page.locator("#status")).to_have_text("Degraded")
        expect(page.locator("#status-detail")).to_contain_text("PostgreSQL does not answer")
        expect(alert).to_have_count(1, timeout=SETTLE_MS)
        acknowledge = alert.get_by_role("button", name="Acknowledge")
        acknowledge.press("Enter")
        expect(alert).to_contain_text("seen by")
        expect(acknowledge).to_have_count(0)
        silence = alert.get_by_role("button", name="Mute for an hour")
        # The keyboard focus is still in the same alert.
        expect(silence).to_be_focused()
        silence.press("Enter")
        expect(alert).to_contain_text("silent until")
        alert.get_by_role("button", name="Unmute").press("Enter")
        expect(alert).not_to_contain_text("silent until")
    expect(arrow(operations, "persist")).to_have_attribute("data-state", "ok", timeout=SETTLE_MS)
    expect(page.locator(".node.down")).to_have_count(0)
    expect(alert).to_have_count(0, timeout=SETTLE_MS)


def test_a_check_is_started_and_its_report_shown(operations: Console, admin: Api) -> None:
    operations.page.get_by_role("button", name="Check now").click()
    report = operations.page.locator("#consistency")
    expect(report).to_contain_text("agree", timeout=SETTLE_MS)
    eventually(lambda: ok(admin.get("/api/admin/consistency"))["state"] == "done")
    operations.refresh()
    expect(report).to_contain_text("PostgreSQL, ClickHouse")


def test_what_a_server_allows_is_offered_and_nothing_is_wider_than_its_window(
    console: Console, open_stack: Launched, admin_token: str
) -> None:
    def without_drills(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json=reply.json() | {"drills": False})

    page = console.page
    page.route("**/api/console", without_drills)
    console.sign_in(admin_token, "/operations")
    expect(page.locator("#version")).to_contain_text("Threadkeep")
    expect(page.locator("#drills-box")).to_be_hidden()
    expect(page.get_by_role("link", name="Flower")).to_have_attribute(
        "href", open_stack.env["FLOWER_URL"]
    )
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("#storage .bars")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".node")).to_have_count(4)
        assert not console.overflows(), width


def test_who_is_no_admin_is_told_so_and_shown_nothing(
    browser: BrowserContext, open_stack: Launched, browser_token: str
) -> None:
    asked: list[str] = []
    with tab(browser, open_stack) as console:
        console.page.on("request", lambda request: asked.append(request.url))
        console.sign_in(browser_token, "/operations")
        expect(console.page.locator("#for-admins")).to_be_visible()
        expect(console.page.locator("#operations")).to_be_hidden()
    assert not [address for address in asked if "/api/admin" in address]


def test_the_pages_bring_everything_with_them(
    browser: BrowserContext, open_stack: Launched, admin_token: str
) -> None:
    own = (open_stack.url, open_stack.env["WS_URL"])
    asked: list[str] = []
    with tab(browser, open_stack) as console:
        console.page.on("request", lambda request: asked.append(request.url))
        console.page.on("websocket", lambda socket: asked.append(socket.url))
        console.sign_in(admin_token)
        console.is_live()
        console.open("/operations")
        expect(console.page.locator(".node")).to_have_count(4, timeout=WAIT_MS)
    assert [address for address in asked if not address.startswith(own)] == []
    assert not [address for address in asked if admin_token in address]


def test_a_page_may_run_nothing_that_is_put_into_it(
    browser: BrowserContext, open_stack: Launched, browser_token: str
) -> None:
    """If text became markup by mistake, the browser would refuse it."""
    with tab(browser, open_stack) as console:
        console.sign_in(browser_token)
        tried = "() => { try { document.body.innerHTML = '<b>x</b>' } catch { return 'refused' } }"
        assert console.page.evaluate(tried) == "refused"
        console.page.evaluate(
            "() => { const s = document.createElement('style');"
            " s.textContent = 'body{display:none}'; document.head.append(s) }"
        )
        expect(console.page.locator("main")).to_be_visible()
        assert len(console.complaints) == 2
        console.complaints.clear()
