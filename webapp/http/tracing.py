"""A trace for every request, if traces are on: named by its route, never by its path."""

from flask import Flask, Response, g, request

from storage.telemetry.tracing import Tracing
from webapp.http.requests import METHODS, NO_ROUTE


def register(app: Flask, tracing: Tracing) -> None:
    """Traces each request from its beginning until its answer begins."""

    @app.before_request
    def begin() -> None:
        tracing.begin(" ".join(_name()), request.headers.get("traceparent", ""))

    @app.after_request
    def end(response: Response) -> Response:
        method, route = _name()
        facts = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": response.status_code,
            "threadkeep.request_id": g.get("request_id", ""),
        }
        tracing.end(facts, failed=response.status_code >= 500)
        return response


def _name() -> tuple[str, str]:
    """Method and route of the request. Unknown ones share a name: anybody can ask for any path."""
    rule = request.url_rule
    method = request.method if request.method in METHODS else "_OTHER"
    return method, rule.rule if rule is not None else NO_ROUTE
