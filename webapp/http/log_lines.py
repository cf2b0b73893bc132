"""The request in a log line.

Looked up when a line is written, so that a request without one costs nothing.
"""

from flask import g, has_request_context, request
from structlog.types import EventDict, WrappedLogger


def about_request(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Adds the id, method, route template and user of the current request, if there is one."""
    if has_request_context():
        line.setdefault("request_id", request_id())
        line.setdefault("method", request.method)
        line.setdefault("route", request.url_rule.rule if request.url_rule else None)
        caller = g.get("caller")
        if caller is not None:
            line.setdefault("user_id", caller.user_id)
            if caller.key_id:
                line.setdefault("key_id", caller.key_id)
    return line


def request_id() -> str:
    """The id of the current request; empty outside a request."""
    found: str = g.get("request_id", "") if has_request_context() else ""
    return found
