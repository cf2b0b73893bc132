"""The API's own description and its page, served without any outside host."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from flask import Blueprint, Response, current_app, request, send_from_directory
from werkzeug.http import generate_etag

from webapp.http.pages import guarded, tagged
from webapp.openapi import document

blueprint = Blueprint("docs", __name__)

DAY_SECONDS = 86_400
_ASSETS = Path(__file__).parent / "static" / "swagger-ui"
_PAGE = Path(__file__).parent / "static" / "page"
_OWN = {"start.js": "text/javascript", "page.css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


@blueprint.get("/openapi.json")
def openapi_json() -> Response:
    """OpenAPI 3.1."""
    made = _description()
    response = Response(made.text, mimetype="application/json")
    response.set_etag(made.etag)
    response.make_conditional(request)
    return guarded(response, _POLICY)


@blueprint.get("/docs")
def page() -> Response:
    """The page."""
    text = (_PAGE / "index.html").read_text()
    return guarded(tagged(Response(text, mimetype="text/html")), _POLICY)


@blueprint.get("/docs/assets/<name>")
def asset(name: str) -> Response:
    """A file of the page, of our own or of Swagger UI."""
    if name in _OWN:
        text = (_PAGE / name).read_text()
        return guarded(tagged(Response(text, mimetype=_OWN[name])), _POLICY, DAY_SECONDS)
    return guarded(send_from_directory(_ASSETS, name), _POLICY, DAY_SECONDS)


class _Description(NamedTuple):
    text: bytes
    etag: str


@cache
def _description() -> _Description:
    """The description and its ETag, made once in each process."""
    text = msgspec.json.encode(document.document(current_app))
    return _Description(text, generate_etag(text))
