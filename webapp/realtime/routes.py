"""The routes of the realtime process: the WebSocket, and the stream of server-sent events."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, g, request
from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from models.message import check_thread_id
from storage.errors import TierError
from webapp.api.events import EVENTS, LAST_EVENT_ID, SOCKET, TICKET
from webapp.api.tickets import IDENTITY, redeemed
from webapp.http.context import admit, caller
from webapp.http.errors import BadRequest
from webapp.http.requests import bearer, check_origin, on_behalf_of
from webapp.identity.caller import InvalidTicket
from webapp.realtime.connection import WebSocket
from webapp.realtime.process import Realtime, realtime
from webapp.realtime.protocol import MOST_THREADS
from webapp.realtime.session import ClientSession, Visitor
from webapp.realtime.sse import EventStream
from webapp.realtime.takeover import Takeover

SUBPROTOCOL = "bearer"
PUBLIC = frozenset({"realtime.socket", "realtime.events"})
"""They see to it themselves: the token may come by a ticket, or in a socket's first frame."""

blueprint = Blueprint("realtime", __name__, url_prefix="/api")


@SOCKET
@blueprint.get("/ws")
@blueprint.get("/ws", websocket=True)
def socket() -> Response:
    """The WebSocket. A bad token is reported on the open socket, where browsers can see it."""
    process = realtime()
    check_origin(process.web.origins)
    _check_capacity(process)
    handshake, asked = _handshake()
    refusal: Exception | None = None
    try:
        _redeem(process, asked.subprotocols)
    except (InvalidTicket, TierError) as error:
        refusal = error.with_traceback(None)
    token, subprotocol = _token(asked.subprotocols)
    if token is None and not process.connections.accepts_unauthenticated:
        raise BadRequest(503, "too_many_sockets", "too many come without a token at the moment")
    answer = handshake.send(AcceptConnection(subprotocol=subprotocol))
    visitor = Visitor(g.request_id, request.environ.get("REMOTE_ADDR", ""), on_behalf_of())

    def serve(sock: Any, _: Any) -> None:
        web_socket = WebSocket(sock, Connection(ConnectionType.SERVER), process.web.settings)
        web_socket.outbox.put(answer)
        ClientSession(process, web_socket, visitor).run(token, refusal)

    return Takeover(serve)


@EVENTS
@blueprint.get("/events")
def events() -> Response:
    """The event stream."""
    process = realtime()
    check_origin(process.web.origins)
    _check_capacity(process)
    thread_ids = request.args.getlist("thread_id")
    if len(thread_ids) > MOST_THREADS:
        raise BadRequest(422, "too_many_threads", f"name at most {MOST_THREADS} threads")
    for thread_id in thread_ids:
        check_thread_id(thread_id)
    threads = frozenset(thread_ids) or None
    # A browser that reconnects sends a newer one than the address has.
    last_event_id = request.headers.get("Last-Event-ID", request.args.get(LAST_EVENT_ID))
    _redeem(process)
    until = admit(process.web, request, "realtime.events")
    listening = caller()
    user_id = listening.user_id
    if not process.connections.acquire(user_id):
        raise BadRequest(503, "too_many_sockets", "this user has too many streams open")
    is_page = TICKET in request.args

    def serve(sock: Any, headers: list[tuple[str, str]]) -> None:
        stream = EventStream(process, sock, listening, until)
        stream.run(_head(headers), threads, last_event_id, is_page=is_page)

    return Takeover(serve, mimetype="text/event-stream")


def _check_capacity(process: Realtime) -> None:
    if process.connections.is_full:
        raise BadRequest(
            503, "too_many_sockets", "this process holds as many as it can, or is about to end"
        )


def _handshake() -> tuple[H11Handshake, Request]:
    """The opening handshake (RFC 6455, section 4.2). Raises `BadRequest`."""
    handshake = H11Handshake(ConnectionType.SERVER)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    try:
        handshake.initiate_upgrade_connection(headers, "/api/ws")
        asked = next(iter(handshake.events()))
    except RemoteProtocolError as error:
        raise BadRequest(426, "upgrade_required", f"this is a WebSocket: {error}") from None
    if not isinstance(asked, Request):
        raise BadRequest(426, "upgrade_required", "this is a WebSocket")
    return handshake, asked


def _redeem(process: Realtime, subprotocols: Sequence[str] = ()) -> None:
    """Gives a request with a ticket the headers that the ticket stands for. Raises `InvalidTicket`,
    `RateLimited` where an address sends too many wrong ones, and `TierError`."""
    ticket = request.args.get(TICKET)
    if ticket is None:
        return
    if not request.environ.keys().isdisjoint(IDENTITY) or SUBPROTOCOL in subprotocols[:1]:
        raise BadRequest(400, "two_credentials", "a ticket says who calls: send nothing beside it")
    try:
        request.environ.update(redeemed(process.web, ticket))
    except InvalidTicket:
        process.web.limits.check_unauthenticated(request.environ.get("REMOTE_ADDR", ""))
        raise


def _token(subprotocols: list[str]) -> tuple[str | None, str | None]:
    """The token of the handshake, if it has one, and the subprotocol to agree to."""
    if subprotocols and subprotocols[0] == SUBPROTOCOL:
        return (subprotocols[1] if len(subprotocols) > 1 else ""), SUBPROTOCOL
    return (bearer() if "Authorization" in request.headers else None), None


def _head(headers: list[tuple[str, str]]) -> bytes:
    """The head of an answer that ends with its connection."""
    kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
    lines = [f"{name}: {value}" for name, value in [*kept, ("Connection", "close")]]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")
