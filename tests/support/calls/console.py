"""The console in a real browser, as somebody uses it, and what the browser complained of."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from support.stack.processes import Launched

WAIT_MS = 20_000
REMEMBER = """(token) => {
  if (sessionStorage.getItem("remembered") || !location.protocol.startsWith("http")) return;
  sessionStorage.setItem("remembered", "once");
  sessionStorage.setItem("threadkeep.token", token);
}"""
NOT_THERE = "Failed to load resource"
"""What a browser says of every answer that is an error, however it was expected."""


class Console:
    """One tab. `complaints` are errors and refusals of the browser, answers of errors aside."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._url = url
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str = "/") -> None:
        """Goes to a page of the console."""
        self.page.goto(self._url + path)

    def sign_in(self, token: str, path: str = "/") -> None:
        """Opens a page as somebody who has signed in before in this tab."""
        self.page.add_init_script(f"({REMEMBER})({json.dumps(token)})")
        self.open(path)
        expect(self.page.locator("#page")).to_be_visible(timeout=WAIT_MS)

    def try_token(self, token: str) -> None:
        """Pastes a token, whatever comes of it."""
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def is_live(self) -> None:
        """Waits for the socket."""
        expect(self.page.locator("#connection-words")).to_have_text("Live", timeout=WAIT_MS)

    def open_thread(self, title: str) -> None:
        """Opens a thread of the list."""
        self.page.locator("#threads a").filter(has_text=title).click()
        expect(self.page.locator("#thread-name")).to_have_text(title, timeout=WAIT_MS)

    def send(self, text: str) -> Locator:
        """Writes a message and presses Enter; gives the message as it stands on the page."""
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.keyboard.press("Enter")
        return self.message(text)

    def message(self, text: str) -> Locator:
        """A message of the conversation."""
        return self.page.locator(".message").filter(has_text=text)

    def turn(self, address: str) -> None:
        """Types an address behind the page's own."""
        self.page.evaluate("(hash) => (location.hash = hash)", address)

    def refresh(self) -> None:
        """Has the page ask for everything at once, as when its tab is turned to."""
        self.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        wide = "document.documentElement.scrollWidth > innerWidth"
        return bool(self.page.evaluate(f"() => {wide}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and NOT_THERE not in message.text:
            self.complaints.append(message.text)


@contextmanager
def tab(browser: BrowserContext, stack: Launched) -> Iterator[Console]:
    """A new tab, which has complained of nothing when it is closed."""
    page = browser.new_page()
    console = Console(page, stack.url)
    try:
        yield console
    finally:
        page.close()
    assert console.complaints == []
