"""The console: its two pages and their files, and what they ask first.

Files are public, data asks for the token as everywhere. The pages may run only scripts of this
server, talk only to it and to its socket, and turn no text into markup.
"""

from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from flask import Blueprint, Response, send_from_directory

from webapp.context import caller, web
from webapp.requests import answer

blueprint = Blueprint("console", __name__)

_FILES = Path(__file__).parent / "static" / "console"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'{socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)


class ConsoleFacts(msgspec.Struct, kw_only=True, frozen=True):
    """Who is calling, and where things are. `flower_url` and `drills`, whether tiers may be made to
    seem out, are said to admins alone."""

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
    return _file("index.html")


@blueprint.get("/operations")
def operations() -> Response:
    """The page of admins."""
    return _file("operations.html")


@blueprint.get("/console/<name>")
def asset(name: str) -> Response:
    """A file of the pages."""
    return _file(name)


@blueprint.get("/api/console")
def console_facts() -> Response:
    """What the console asks first."""
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


def _file(name: str) -> Response:
    """A file that browsers keep, and ask each time whether it is still the same."""
    response = send_from_directory(_FILES, name, max_age=0)
    headers = response.headers
    socket = _socket_source(web().settings.ws_url)
    headers["Content-Security-Policy"] = _POLICY.format(socket=socket)
    headers["Cache-Control"] = "no-cache"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def _socket_source(ws_url: str) -> str:
    """The socket's origin as the policy names it, empty where there is none."""
    parts = urlsplit(ws_url)
    return f" {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""
