"""A browser, pages of two origins, and a stack that lets one of them in.

All of it ends with these tests: others run event loops of their own.
"""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

import settings as configuration
from support.calls.api import Api, ok
from support.calls.console import WAIT_MS, Console, tab
from support.data.users import fresh_user
from support.stack.processes import PATIENT, Launched, launched
from webapp.http.auth import Tokens

TOKEN_SECONDS = 3600
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--process-per-site",
)
"""No background activity of the browser, and no sandbox, which root cannot have."""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


def _pages() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package", autouse=True)
def patient() -> None:
    """Expectations of a page wait as long as a busy machine may take."""
    expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="package")
def home() -> Iterator[str]:
    """The origin of pages that may open sockets."""
    yield from _pages()


@pytest.fixture(scope="package")
def elsewhere() -> Iterator[str]:
    """The origin of pages that may not."""
    yield from _pages()


@pytest.fixture(scope="package")
def open_stack(home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A stack that allows pages of `home`, and drills."""
    # One process of the API: the machine is busy enough with rendering.
    own = {"THREADKEEP_ORIGINS": home, "THREADKEEP_DRILLS": "1", "WEB_WORKERS": "1"}
    with launched(tmp_path_factory.mktemp("stack"), "flower", **PATIENT, **own) as running:
        yield running


@pytest.fixture
def browser_token(open_stack: Launched) -> str:
    """A token of a new user."""
    tokens = Tokens(configuration.load(open_stack.env))
    return tokens.issue(fresh_user(), is_admin=False, ttl_seconds=TOKEN_SECONDS)


@pytest.fixture
def expired_token(open_stack: Launched) -> str:
    """A token that expired a minute ago."""
    tokens = Tokens(configuration.load(open_stack.env))
    return tokens.issue(fresh_user(), is_admin=False, ttl_seconds=-60)


@pytest.fixture
def console(browser: BrowserContext, open_stack: Launched) -> Iterator[Console]:
    """A tab, without errors in its console at the end."""
    with tab(browser, open_stack) as one:
        yield one


@pytest.fixture
def own_api(open_stack: Launched, browser_token: str) -> Api:
    """The API as the user of the page."""
    return Api(open_stack.url, browser_token)


@pytest.fixture
def thread(own_api: Api) -> str:
    """The title of a thread with one message."""
    ok(own_api.post("/api/threads", json={"id": "t", "title": "A first thread"}), 201)
    own_api.send("t", "what was there before")
    return "A first thread"


@pytest.fixture
def admin_token(open_stack: Launched) -> str:
    """A token of a new admin."""
    tokens = Tokens(configuration.load(open_stack.env))
    return tokens.issue(fresh_user(), is_admin=True, ttl_seconds=TOKEN_SECONDS)


@pytest.fixture
def admin(open_stack: Launched, admin_token: str) -> Api:
    """The API as that admin."""
    return Api(open_stack.url, admin_token)


@pytest.fixture
def operations(console: Console, admin_token: str) -> Console:
    """The operations page as that admin sees it."""
    console.sign_in(admin_token, "/operations")
    expect(console.page.locator(".node")).to_have_count(4, timeout=WAIT_MS)
    return console


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The system's Chromium, with a profile of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium on the path: pages were not looked at (apt-get install chromium)")
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=program,
            headless=True,
            # An endless animation is painted without end.
            reduced_motion="reduce",
            args=list(QUIET),
        )
        yield context
        context.close()
