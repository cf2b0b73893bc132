"""Where events are told: not here. Whoever asks the API for them is sent to the realtime process,
since each listener would hold one of the threads that answer requests."""

from flask import Blueprint, Response, request

from webapp.http.context import web
from webapp.http.errors import BadRequest

blueprint = Blueprint("events", __name__, url_prefix="/api")


@blueprint.get("/ws")
@blueprint.get("/ws", websocket=True)
def socket() -> Response:
    """To the WebSocket."""
    return _moved(web().settings.ws_url)


@blueprint.get("/events")
def events() -> Response:
    """To the event stream, with what was asked of it."""
    address = events_url(web().settings.ws_url)
    asked = request.query_string.decode("latin-1")
    return _moved(f"{address}?{asked}" if address and asked else address)


def events_url(ws_url: str) -> str:
    """The event stream's address, beside the WebSocket's; empty where that is."""
    address = ws_url.removesuffix("/").removesuffix("/ws")
    return f"{address.replace('ws', 'http', 1)}/events" if address else ""


def _moved(address: str) -> Response:
    if not address:
        raise BadRequest(503, "realtime_unknown", "no realtime process is known here (WS_URL)")
    return Response(status=307, headers={"Location": address})
