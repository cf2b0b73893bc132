"""What an API key must be for, route by route."""

from storage.identity.credentials import ADMIN
from webapp.identity.caller import Caller, NotAllowed

READ = "messages:read"
WRITE = "messages:write"
"""What a socket needs to be told of messages, and to send some."""
READ_THREADS = "threads:read"
ANY = ""
"""Every key may do that."""
AREAS = {
    "messages": "messages",
    "streaming": "messages",
    "batch": "messages",
    "search": "messages",
    "analytics": "messages",
    "events": "messages",
    "realtime": "messages",
    # Whatever is opened with a ticket asks for its own scope.
    "tickets": ANY,
    "threads": "threads",
    "session": "states",
    "runs": "states",
    "admin": ADMIN,
    "health": ANY,
    "console": ANY,
}
"""What the routes of each blueprint are about."""


def scope_of(endpoint: str, method: str) -> str | None:
    """The scope that a key needs for a route, `ANY` for none; None where it may not, whatever its
    scopes are."""
    area = AREAS.get(endpoint.partition(".")[0])
    if area in {None, ANY, ADMIN}:
        return area
    return f"{area}:{'read' if method in {'GET', 'HEAD'} else 'write'}"


def check_route(caller: Caller, endpoint: str, method: str) -> None:
    """Raises `NotAllowed` where an API key is not for this route."""
    if caller.scopes is None:
        return
    wanted = scope_of(endpoint, method)
    if wanted is None:
        raise NotAllowed("insufficient_scope", "API keys are not for this call")
    if wanted != ANY:
        check_scope(caller, wanted)


def check_scope(caller: Caller, wanted: str) -> None:
    """Raises `NotAllowed` where an API key lacks the scope."""
    if caller.scopes is not None and wanted not in caller.scopes:
        raise NotAllowed("insufficient_scope", f"this key lacks the scope {wanted}")
