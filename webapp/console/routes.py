"""The console: its two pages, their files, and the call that they make first.

Files are public; data needs a token as everywhere. The pages may run only scripts of this server,
talk only to it and to its socket, and turn no text into markup.
"""

import re
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from flask import Blueprint, Response, send_from_directory

from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.pages import YEAR_SECONDS, guarded, tagged
from webapp.http.requests import answer

blueprint = Blueprint("console", __name__)

BUILD_DIGITS = 16
_BUILD = re.compile(rf"[0-9a-f]{{{BUILD_DIGITS}}}")
_FILES = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'{socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)


class ConsoleFacts(msgspec.Struct, kw_only=True, frozen=True):
    """Who is calling, and the addresses of the other pages. Only admins are given `flower_url` and
    `drills`, whether outages may be simulated."""

    version: str
    user_id: str
    is_admin: bool
    ws_url: str
    docs_url: str
    flower_url: str | msgspec.UnsetType = msgspec.UNSET
    drills: bool | msgspec.UnsetType = msgspec.UNSET


@blueprint.get("/")
def chat() -> Response:
    """The page of threads and messages."""
    return _page("index.html")


@blueprint.get("/operations")
def operations() -> Response:
    """The page of admins."""
    return _page("operations.html")


@blueprint.get("/console/<path:name>")
def asset(name: str) -> Response:
    """A file of the pages, by its path below their folder, with or without a build before it.

    With this build the answer is immutable for a year. With another, as pages have for a moment in
    a deployment, or with none, browsers ask for it again each time.
    """
    build, _, path = name.partition("/")
    if not _BUILD.fullmatch(build):
        build, path = "", name
    seconds = YEAR_SECONDS if build == _build() else 0
    return guarded(send_from_directory(_FILES, path, max_age=seconds), _policy(), seconds)


@Operation("What the console has to know", {200: ConsoleFacts})
@blueprint.get("/api/console")
def get_console_facts() -> Response:
    """Who is calling, and what the console has to know of this installation."""
    settings, who = web().settings, caller()
    return answer(
        ConsoleFacts(
            version=version("threadkeep"),
            user_id=who.user_id,
            is_admin=who.is_admin,
            ws_url=settings.ws_url,
            docs_url="/docs",
            flower_url=settings.flower_url if who.is_admin else msgspec.UNSET,
            drills=settings.drills if who.is_admin else msgspec.UNSET,
        )
    )


def _page(name: str) -> Response:
    """A page that browsers keep and revalidate each time. It names its files with their build, so
    that browsers request each of them once."""
    text = (_FILES / name).read_text().replace('"/console/', f'"/console/{_build()}/')
    return guarded(tagged(Response(text, mimetype="text/html")), _policy())


@cache
def _build() -> str:
    """A hash of all files together."""
    files = sorted(file for file in _FILES.rglob("*") if file.is_file())
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:BUILD_DIGITS]


def _policy() -> str:
    """The Content-Security-Policy of the pages and their files."""
    return _POLICY.format(socket=_socket_source(web().settings.ws_url))


def _socket_source(ws_url: str) -> str:
    """The socket's origin as the policy names it, empty without one."""
    parts = urlsplit(ws_url)
    return f" {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""
