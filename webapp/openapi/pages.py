"""The API's own description and its page, served without any outside host."""

from functools import cache
from pathlib import Path

import msgspec
from flask import Blueprint, Response, current_app, send_from_directory

from webapp.http.pages import guarded, tagged
from webapp.openapi import document

blueprint = Blueprint("docs", __name__)

DAY_SECONDS = 86_400
_ASSETS = Path(__file__).parent / "static" / "swagger-ui"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Threadkeep API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""
# Light or dark like the console.
_START = """const system = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const chosen = localStorage.getItem("threadkeep.theme");
  const isDark = chosen ? chosen === "dark" : system.matches;
  document.documentElement.classList.toggle("dark-mode", isDark);
};
system.addEventListener("change", paint);
paint();
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


@blueprint.get("/openapi.json")
def openapi_json() -> Response:
    """OpenAPI 3.1."""
    return guarded(tagged(Response(_description(), mimetype="application/json")), _POLICY)


@blueprint.get("/docs")
def page() -> Response:
    """The page."""
    return guarded(tagged(Response(_PAGE, mimetype="text/html")), _POLICY)


@blueprint.get("/docs/assets/<name>")
def asset(name: str) -> Response:
    """A file of the page."""
    if name == "start.js":
        return guarded(tagged(Response(_START, mimetype="text/javascript")), _POLICY, DAY_SECONDS)
    return guarded(send_from_directory(_ASSETS, name), _POLICY, DAY_SECONDS)


@cache
def _description() -> bytes:
    """The description, made once in each process."""
    return msgspec.json.encode(document.document(current_app))
