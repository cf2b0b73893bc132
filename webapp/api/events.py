"""Redirects to the realtime process: in a web process each listener would hold one of the threads
that answer requests."""

from flask import Blueprint, Response, request

from webapp.http.context import web
from webapp.http.errors import BadRequest
from webapp.http.operation import Operation

blueprint = Blueprint("events", __name__, url_prefix="/api")

TICKET, LAST_EVENT_ID = "ticket", "last_event_id"

SOCKET = Operation("Open the WebSocket", {307: None}, query=(TICKET,))
EVENTS = Operation(
    "Listen to events (server-sent events)",
    {307: None},
    query=("thread_id", LAST_EVENT_ID, TICKET),
    repeated=("thread_id",),
    headers=("Last-Event-ID",),
)
"""The realtime process takes the same parameters, and answers itself."""


@SOCKET
@blueprint.get("/ws")
@blueprint.get("/ws", websocket=True)
def open_socket() -> Response:
    """Redirects to the WebSocket of the realtime process, whose address `GET /api` names."""
    return _moved(web().settings.ws_url)


@EVENTS
@blueprint.get("/events")
def open_event_stream() -> Response:
    """Redirects to the event stream of the realtime process, with the query of this request."""
    return _moved(events_url(web().settings.ws_url))


def events_url(ws_url: str) -> str:
    """The address of the event stream, made from that of the WebSocket; empty if that is."""
    address = ws_url.removesuffix("/").removesuffix("/ws")
    return f"{address.replace('ws', 'http', 1)}/events" if address else ""


def _moved(address: str) -> Response:
    """Redirects to an address, with the query of this request."""
    if not address:
        raise BadRequest(503, "realtime_unknown", "no realtime process is known here (WS_URL)")
    asked = request.query_string.decode("latin-1")
    return Response(status=307, headers={"Location": f"{address}?{asked}" if asked else address})
