"""The API, the event stream and sockets as a page of another origin uses them in a browser."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

import settings
from support.calls.api import Api
from support.calls.console import WAIT_MS
from support.stack.processes import Launched

pytestmark = pytest.mark.browser

DOCUMENT = Path(settings.__file__).parent / "docs" / "realtime.md"
SAMPLES = "\n".join(re.findall(r"```js\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL))

BEGIN = "([url, token]) => { window.API_URL = url; window.token = token; window.told = []; }"
CALL = """
async ([path, method, body, headers]) => {
  const given = {Authorization: `Bearer ${token}`, ...headers};
  if (body !== null) given["Content-Type"] = "application/json";
  try {
    const reply = await fetch(API_URL + path, {method, body, headers: given});
    const text = await reply.text();
    const headers = Object.fromEntries(reply.headers);
    return {status: reply.status, body: text && JSON.parse(text), headers};
  } catch (error) {
    return {failed: error.name};
  }
}
"""
OPEN = """
([address, frame]) => new Promise((done) => {
  const socket = new WebSocket(address);
  socket.onopen = () => frame && socket.send(JSON.stringify(frame));
  socket.onmessage = (message) => done(JSON.parse(message.data));
  socket.onclose = (end) => done({closed: end.code});
})
"""
STREAM = """
(address) => new Promise((done) => {
  const source = new EventSource(address);
  source.addEventListener("authenticated", (event) => done(JSON.parse(event.data)));
  source.onerror = () => { done({state: source.readyState}); source.close(); };
})
"""
OPENED = "(times) => told.filter((event) => event.type === 'authenticated').length >= times"
TOLD_ONCE = """
(text) => told.filter(
  (event) => event.type === "message_received" && event.message.content === text
).length === 1
"""


class Caller:
    """A page of some origin, with a user's token."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def call(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Any:
        """The answer as the page's `fetch` sees it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.page.evaluate(CALL, [path, method, body, named])

    def ticket(self) -> str:
        return str(self.call("/api/tickets", "POST")["body"]["ticket"])

    def socket(self, address: str, frame: dict[str, str] | None = None) -> Any:
        """The first frame that a socket is told, or how it was closed."""
        return self.page.evaluate(OPEN, [address, frame])

    def stream(self, address: str) -> Any:
        """The first event of an event stream, or what has become of it."""
        return self.page.evaluate(STREAM, address)


def caller(browser: BrowserContext, origin: str, url: str, token: str) -> Iterator[Caller]:
    page = browser.new_page()
    page.goto(origin)
    page.evaluate(BEGIN, [url, token])
    yield Caller(page)
    page.close()


@pytest.fixture
def known(
    browser: BrowserContext, open_stack: Launched, home: str, browser_token: str
) -> Iterator[Caller]:
    yield from caller(browser, home, open_stack.url, browser_token)


@pytest.fixture
def foreign(
    browser: BrowserContext, open_stack: Launched, elsewhere: str, browser_token: str
) -> Iterator[Caller]:
    yield from caller(browser, elsewhere, open_stack.url, browser_token)


@pytest.fixture
def events_url(own_api: Api) -> str:
    return str(own_api.get("/api").json()["events_url"])


def test_a_page_posts_and_lists(known: Caller) -> None:
    given = {"Idempotency_Key": "k", "X_Request_ID": "mine", "traceparent": "00-1-2-00"}
    path, body = "/api/threads/t/messages", '{"message": "Hallo 👋"}'
    first, again = (known.call(path, "POST", body, **given) for _ in range(2))
    assert (first["status"], again["status"]) == (200, 200)
    assert first["body"]["id"] == again["body"]["id"]
    assert first["headers"]["x-request-id"] == "mine"
    assert again["headers"]["idempotency-replayed"] == "true"
    listed = known.call(path)
    assert [one["content"] for one in listed["body"]["messages"]] == ["Hallo 👋"]
    message = f"/api/messages/{first['body']['id']}"
    tag = known.call(message)["headers"]["etag"]
    edited = known.call(message, "PATCH", '{"message": "changed"}', If_Match=tag)
    assert edited["body"]["content"] == "changed"
    assert known.call(message, "DELETE")["status"] == 200


def test_a_page_reads_what_is_wrong(known: Caller) -> None:
    def wrong(status: int, code: str, *call: Any, **headers: str) -> None:
        reply = known.call(*call, **headers)
        assert (reply["status"], reply["body"]["code"]) == (status, code)
        assert reply["body"]["request_id"] == reply["headers"]["x-request-id"]

    wrong(422, "invalid_body", "/api/threads/t/messages", "POST", '{"content": 1}')
    wrong(413, "body_too_large", "/api/threads/t/messages", "POST", "x" * 600_000)
    wrong(404, "not_found", "/api/threads/none")
    wrong(401, "invalid_token", "/api/threads", Authorization="Bearer nonsense")
    wrong(401, "invalid_token", "/api/threads/t/messages", "POST", "{}", Authorization="Bearer x")


def test_a_ticket_opens_a_stream_once(known: Caller, events_url: str) -> None:
    address = f"{events_url}?ticket={known.ticket()}"
    assert known.stream(address)["type"] == "authenticated"
    # 2 is CLOSED: the browser does not try again.
    assert known.stream(address) == {"state": 2}


def test_a_page_opens_a_socket_with_a_ticket_or_a_first_frame(
    known: Caller, open_stack: Launched, browser_token: str
) -> None:
    address = open_stack.env["WS_URL"]
    by_ticket = f"{address}?ticket={known.ticket()}"
    assert known.socket(by_ticket)["type"] == "authenticated"
    assert known.socket(by_ticket) == {"closed": 4401}
    frame = {"type": "authenticate", "token": browser_token}
    assert known.socket(address, frame)["type"] == "authenticated"


def test_what_the_guide_shows_works_and_goes_on_after_a_cut(
    known: Caller, open_stack: Launched, own_api: Api
) -> None:
    page = known.page
    page.evaluate(f"async () => {{ {SAMPLES}\nlisten((event) => told.push(event)); }}")
    page.wait_for_function(OPENED, arg=1, timeout=WAIT_MS)
    own_api.send("inbox", "before")
    page.wait_for_function(TOLD_ONCE, arg="before", timeout=WAIT_MS)
    open_stack.signal("realtime", signal.SIGKILL)
    own_api.send("inbox", "meanwhile")
    page.wait_for_function(OPENED, arg=2, timeout=WAIT_MS)
    own_api.send("inbox", "after")
    for text in ("after", "meanwhile", "before"):
        page.wait_for_function(TOLD_ONCE, arg=text, timeout=WAIT_MS)


def test_a_foreign_page_gets_nothing(
    foreign: Caller, known: Caller, open_stack: Launched, events_url: str, browser_token: str
) -> None:
    failed = {"failed": "TypeError"}
    assert foreign.call("/healthz") == failed
    assert foreign.call("/openapi.json") == failed
    assert foreign.call("/api/threads") == failed
    assert foreign.call("/api/threads/t/messages", "POST", '{"message": "x"}') == failed
    assert foreign.call("/api/tickets", "POST") == failed
    address = open_stack.env["WS_URL"]
    assert foreign.stream(f"{events_url}?ticket={known.ticket()}") == {"state": 2}
    assert foreign.socket(f"{address}?ticket={known.ticket()}") == {"closed": 1006}
    frame = {"type": "authenticate", "token": browser_token}
    assert foreign.socket(address, frame) == {"closed": 1006}
    assert known.call("/api/threads")["body"]["threads"] == []
