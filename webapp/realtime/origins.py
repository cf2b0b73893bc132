"""From which pages a browser may come.

A socket is not bound by the same-origin policy: any page may open one to anywhere. So the server
looks at the `Origin` that the browser says, and programs that are no browsers say none.
"""

from urllib.parse import urlsplit

from flask import request

from settings import Settings
from webapp.http.errors import BadRequest

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def check_origin(settings: Settings) -> str | None:
    """The origin of the page that asks, if it is one. Raises `BadRequest` for a foreign one."""
    given = request.headers.get("Origin")
    if given is None:
        return None
    known = [f"{request.scheme}://{request.host}", settings.api_url, *settings.origins.split(",")]
    if _origin(given) not in {_origin(one) for one in known} - {None}:
        raise BadRequest(403, "foreign_origin", "pages of this origin may not open sockets here")
    return given


def _origin(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address, None where it has none."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None
