"""The socket as pages of a real browser use it, which cannot set headers."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from support.stack.processes import Launched

pytestmark = pytest.mark.browser

OPEN = """
([address, token]) => new Promise((done) => {
  window.told = [];
  window.socket = new WebSocket(address, ["bearer", token]);
  socket.onmessage = (message) => told.push(JSON.parse(message.data));
  socket.onopen = () => done({opened: true, protocol: socket.protocol});
  socket.onclose = (end) => { window.end = end.code; done({opened: false, code: end.code}); };
})
"""
SEND = "(frame) => socket.send(JSON.stringify(frame))"
TOLD = "(type) => (window.told || []).find((frame) => frame.type === type)"
ENDED = "() => window.end"
TEXT = "Hallo Welt 👋 \u2028 ש"


def opened(browser: BrowserContext, origin: str, address: str, token: str) -> tuple[Page, Any]:
    """A page of an origin that tried to open the socket, and the outcome."""
    page = browser.new_page()
    page.goto(origin)
    return page, page.evaluate(OPEN, [address, token])


def told(page: Page, kind: str) -> dict[str, Any]:
    """The first frame of a type that the page receives, waited for."""
    frame: dict[str, Any] = page.wait_for_function(TOLD, arg=kind).json_value()
    return frame


def test_a_page_hears_what_becomes_of_its_message_and_so_does_another(
    browser: BrowserContext, open_stack: Launched, home: str, browser_token: str
) -> None:
    address = open_stack.env["WS_URL"]
    writer, came = opened(browser, home, address, browser_token)
    assert came == {"opened": True, "protocol": "bearer"}
    reader, _ = opened(browser, home, address, browser_token)
    told(reader, "authenticated")

    writer.evaluate(
        SEND, {"type": "send_message", "thread_id": "t", "message": TEXT, "client_ref": "r"}
    )

    confirmed = told(writer, "message_confirmed")
    assert confirmed["client_ref"] == "r"
    received = told(reader, "message_received")
    assert received["message"]["content"] == TEXT
    persisted = told(writer, "message_persisted")
    ids = {frame["message_id"] for frame in (confirmed, received, persisted)}
    assert len(ids) == 1
    assert persisted["tier_used"] == "postgresql"
    order = [frame["type"] for frame in writer.evaluate("() => told")]
    assert order == ["authenticated", "message_confirmed", "message_persisted"]
    writer.close()
    reader.close()


def test_a_page_of_a_foreign_origin_is_refused(
    browser: BrowserContext, open_stack: Launched, elsewhere: str, browser_token: str
) -> None:
    page, came = opened(browser, elsewhere, open_stack.env["WS_URL"], browser_token)
    assert came == {"opened": False, "code": 1006}
    page.close()


def test_a_page_is_told_that_its_token_is_bad(
    browser: BrowserContext, open_stack: Launched, home: str
) -> None:
    page, _ = opened(browser, home, open_stack.env["WS_URL"], "no.such.token")
    assert page.wait_for_function(ENDED).json_value() == 4401
    page.close()
