"""Our JavaScript client in a page of another origin: the offline queue, and events."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from support.calls.api import Api
from support.calls.console import WAIT_MS
from support.own_clients import javascript
from support.stack.processes import Launched

pytestmark = pytest.mark.browser

LOAD = """
async ([code, url, token]) => {
  const address = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
  const {Threadkeep, OfflineQueue} = await import(address);
  window.client = new Threadkeep({url, token});
  window.queue = new OfflineQueue(client, {storage: localStorage, name: token});
}
"""
LISTEN = """
async () => {
  window.heard = [];
  for await (const event of client.events({threads: ["t"], lastEventId: "1-1"})) {
    heard.push(event.message?.content ?? event.type);
  }
}
"""
POST = "(texts) => { for (const text of texts) queue.post('t', text); }"
WAITING = "() => queue.waiting.map((post) => post.message)"
SENT = "() => queue.waiting.length === 0"
HEARD = "(text) => heard.includes(text)"


@pytest.fixture
def page(
    browser: BrowserContext, home: str, open_stack: Launched, browser_token: str, tmp_path: Path
) -> Iterator[Callable[[], Page]]:
    """Opens pages with the client."""
    code = javascript.bundle(tmp_path)
    pages: list[Page] = []

    def open_one() -> Page:
        pages.append(browser.new_page())
        pages[-1].goto(home)
        pages[-1].evaluate(LOAD, [code, open_stack.url, browser_token])
        return pages[-1]

    yield open_one
    browser.set_offline(False)
    for one in pages:
        one.close()


def contents(api: Api) -> list[str]:
    return [one["content"] for one in api.page("t", order="asc")["messages"]]


def test_posts_wait_for_the_network_also_in_a_page_that_was_closed(
    page: Callable[[], Page], browser: BrowserContext, own_api: Api
) -> None:
    first = page()
    first.evaluate(POST, ["online"])
    first.wait_for_function(SENT, timeout=WAIT_MS)
    browser.set_offline(True)
    first.evaluate(POST, ["a", "b"])
    assert first.evaluate(WAITING) == ["a", "b"]
    assert contents(own_api) == ["online"]
    browser.set_offline(False)
    first.wait_for_function(SENT, timeout=WAIT_MS)
    browser.set_offline(True)
    first.evaluate(POST, ["c", "d"])
    assert first.evaluate(WAITING) == ["c", "d"]
    first.close()
    browser.set_offline(False)
    tabs = [page(), page()]
    for tab in tabs:
        tab.wait_for_function(SENT, timeout=WAIT_MS)
    assert contents(own_api) == ["online", "a", "b", "c", "d"]


def test_the_socket_continues_after_a_killed_realtime_process(
    page: Callable[[], Page], open_stack: Launched, own_api: Api
) -> None:
    listener = page()
    listener.evaluate(f"() => void ({LISTEN})()")
    listener.wait_for_function(HEARD, arg="reset", timeout=WAIT_MS)
    own_api.send("t", "before")
    listener.wait_for_function(HEARD, arg="before", timeout=WAIT_MS)
    open_stack.signal("realtime", signal.SIGKILL)
    own_api.send("t", "meanwhile")
    listener.wait_for_function(HEARD, arg="meanwhile", timeout=WAIT_MS)
    own_api.send("t", "after")
    listener.wait_for_function(HEARD, arg="after", timeout=WAIT_MS)
    heard = [text for text in listener.evaluate("() => heard") if not text.startswith("message_")]
    assert heard == ["reset", "before", "meanwhile", "after"]
