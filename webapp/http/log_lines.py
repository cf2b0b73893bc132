"""What a log line says of the request that it was written in.

Looked up when there is a line to write, so that a request that is well costs nothing.
"""

from flask import g, has_request_context, request
from structlog.types import EventDict, WrappedLogger


def about_request(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Adds the id, the route's template and the user of the request, if the line has one."""
    if has_request_context():
        line.setdefault("request_id", request_id())
        line.setdefault("method", request.method)
        line.setdefault("route", request.url_rule.rule if request.url_rule else None)
        caller = g.get("caller")
        if caller is not None:
            line.setdefault("user_id", caller.user_id)
    return line


def request_id() -> str:
    """The id of the request that this is a part of; empty outside of one."""
    found: str = g.get("request_id", "") if has_request_context() else ""
    return found
