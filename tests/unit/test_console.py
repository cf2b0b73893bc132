"""The console's files: public, strict about what a page may do, and nothing beside them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.console import routes
from webapp.http.auth import Tokens

FILES = Path(routes.__file__).parent / "static"
PLACES = {"WS_URL": "wss://chat.example:8443/api/ws", "FLOWER_URL": "http://flower.example"}
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b")
IMPORTED = re.compile(r'from "([^"]+)"')
ALL_FILES = sorted(file for file in FILES.rglob("*") if file.is_file())
NAMESPACES = {"http://www.w3.org/2000/svg"}


def client_of(env: dict[str, str]) -> FlaskClient:
    return create_app(settings.load(COMPLETE | env)).test_client()


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    with client_of(PLACES) as client:
        yield client


def facts(client: FlaskClient, *, is_admin: bool) -> dict[str, object]:
    token = Tokens(settings.load(COMPLETE)).issue("somebody", is_admin=is_admin, ttl_seconds=60)
    reply = client.get("/api/console", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 200
    found: dict[str, object] = reply.get_json()
    return found


@pytest.mark.parametrize("path", ["/", "/operations", "/console/chat/chat.js", "/console/base.css"])
def test_every_file_says_what_a_page_may_do(client: FlaskClient, path: str) -> None:
    with client.get(path) as reply:
        assert reply.status_code == 200
        headers = reply.headers
    rules = headers["Content-Security-Policy"].split(";")
    policy = dict(rule.strip().split(" ", 1) for rule in rules)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' wss://chat.example:8443"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["ETag"]


@pytest.mark.parametrize("page", ["/", "/operations"])
def test_files_of_this_build_are_asked_for_once_and_pages_each_time(
    client: FlaskClient, page: str
) -> None:
    with client.get(page) as reply:
        text, etag = reply.get_data(as_text=True), reply.headers["ETag"]
    named = re.findall(r'"(/console/[^"]+)"', text)
    assert len(named) >= 4
    for path in named:
        assert re.fullmatch(r"/console/[0-9a-f]{16}/([a-z]+/)?[\w-]+\.\w+", path)
        with client.get(path) as reply:
            assert reply.status_code == 200
            assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
    with client.get(page, headers={"If-None-Match": etag}) as reply:
        assert reply.status_code == 304
    with client.get("/console/0123456789abcdef/chat/chat.js") as reply:
        assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("ws_url", ["", "nonsense", "ws://"])
def test_a_socket_that_nobody_knows_opens_no_way_out(ws_url: str) -> None:
    with client_of({"WS_URL": ws_url}) as client, client.get("/") as reply:
        policy = reply.headers["Content-Security-Policy"]
    assert "connect-src 'self';" in policy


@pytest.mark.parametrize(
    "name",
    [
        *("../../console.py", "..%2f..%2fconsole.py", "../routes.py", "..%2froutes.py"),
        *("chat/../../routes.py", "chat/..%2f..%2froutes.py", "0123456789abcdef/../routes.py"),
        *("0123456789abcdef/..%2froutes.py", "chat%5c..%5c..%5croutes.py", "%2fetc%2fpasswd"),
        *("chat.js", "chat", "chat/", "0123456789abcdef/chat", "0123456789abcdef/"),
        *("vendor/swagger-ui/LICENSE", "nope", "", "x/nope"),
    ],
)
def test_no_other_file_is_handed_out(client: FlaskClient, name: str) -> None:
    assert client.get(f"/console/{name}").status_code in {401, 404}


def test_only_admins_are_told_where_flower_is() -> None:
    with client_of(PLACES | {"THREADKEEP_DRILLS": "1"}) as client:
        admin, other = facts(client, is_admin=True), facts(client, is_admin=False)
    assert (admin["flower_url"], admin["drills"]) == ("http://flower.example", True)
    assert other["user_id"] == "somebody"
    assert not other.keys() & {"flower_url", "drills"}


@pytest.mark.parametrize("file", ALL_FILES, ids=lambda file: str(file.relative_to(FILES)))
def test_a_file_turns_no_text_into_markup_and_asks_nobody_else(file: Path) -> None:
    text = file.read_text()
    assert not MARKUP.search(text)
    assert set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[\w./]*", text)) <= NAMESPACES
    assert len(text.splitlines()) <= 300
    for imported in imports(file):
        assert imported.is_file()
        # The two pages share one folder, and know nothing of each other.
        assert imported.parent in {file.parent, FILES / "shared"}


def imports(file: Path) -> set[Path]:
    """The scripts that a script imports, all named from its own folder."""
    names = IMPORTED.findall(file.read_text()) if file.suffix == ".js" else []
    assert all(name.startswith(("./", "../")) for name in names)
    return {(file.parent / name).resolve() for name in names}


def test_every_file_is_used() -> None:
    pages = {FILES / "index.html", FILES / "operations.html"}
    named = {name for page in pages for name in re.findall(r'"/console/([^"]+)"', page.read_text())}
    used = {FILES / name for name in named}.union(*map(imports, ALL_FILES))
    assert set(ALL_FILES) == pages | used


@pytest.mark.parametrize("page", ["index.html", "operations.html"])
def test_no_name_is_twice_on_a_page(page: str) -> None:
    ids = re.findall(r' id="([\w-]+)"', (FILES / page).read_text())
    assert len(ids) == len(set(ids))


def test_scripts_ask_for_no_part_that_is_on_neither_page() -> None:
    pages = "".join((FILES / name).read_text() for name in ("index.html", "operations.html"))
    asked = {
        name
        for file in FILES.rglob("*.js")
        for name in re.findall(r'byId\("([\w-]+)"\)', file.read_text())
    }
    assert asked
    assert {name for name in asked if f'id="{name}"' not in pages} == set()


def luminance(colour: str) -> float:
    """The relative luminance of a colour as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(scheme: int, ink: str, paper: str) -> float:
    """The ratio of two named colours of a scheme, as those guidelines define it."""
    css = (FILES / "base.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colours = {name: both[scheme] for name, *both in pairs}
    lighter, darker = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "ok", "slow", "stopped"])
@pytest.mark.parametrize("paper", ["paper", "sheet", "raised", "accent-wash", "trouble-wash"])
def test_every_word_stands_out_from_what_it_is_on(scheme: int, ink: str, paper: str) -> None:
    assert contrast(scheme, ink, paper) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"), [("on-accent", "accent"), ("on-stopped", "stopped"), ("ink", "mark")]
)
def test_words_on_buttons_and_marks_stand_out_too(scheme: int, ink: str, paper: str) -> None:
    assert contrast(scheme, ink, paper) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "sheet", "raised", "accent-wash"])
def test_what_can_be_used_has_an_edge_that_is_seen(scheme: int, paper: str) -> None:
    assert contrast(scheme, "strong-line", paper) >= 3


def test_what_moves_stands_still_for_who_asked_for_that() -> None:
    css = (FILES / "base.css").read_text()
    still = css[css.index("@media (prefers-reduced-motion: reduce)") :]
    assert "animation: none !important" in still
    assert "transition: none !important" in still
