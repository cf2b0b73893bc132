"""The routes of the realtime process: the WebSocket, and the stream of server-sent events."""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, request
from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from models.message import check_thread_id
from settings import Settings
from webapp.api.events import EVENTS, SOCKET
from webapp.http.errors import BadRequest
from webapp.http.requests import bearer, on_behalf_of
from webapp.http.scopes import READ, check_scope
from webapp.realtime.connection import WebSocket
from webapp.realtime.process import Realtime, realtime
from webapp.realtime.protocol import MOST_THREADS
from webapp.realtime.session import ClientSession
from webapp.realtime.sse import EventStream
from webapp.realtime.takeover import Takeover

SUBPROTOCOL = "bearer"
PUBLIC = frozenset({"realtime.socket", "realtime.preflight"})
"""A socket may send its token in its first frame; a preflight never has one."""

blueprint = Blueprint("realtime", __name__, url_prefix="/api")


@SOCKET
@blueprint.get("/ws")
@blueprint.get("/ws", websocket=True)
def socket() -> Response:
    """The WebSocket. A bad token is reported on the open socket, where browsers can see it."""
    process = realtime()
    check_origin(process.web.settings)
    _check_capacity(process)
    handshake, asked = _handshake()
    token, subprotocol = _token(asked.subprotocols)
    if token is None and not process.connections.accepts_unauthenticated:
        raise BadRequest(503, "too_many_sockets", "too many come without a token at the moment")
    answer = handshake.send(AcceptConnection(subprotocol=subprotocol))
    request_id, user_id = g.request_id, on_behalf_of()

    def serve(sock: Any, _: Any) -> None:
        web_socket = WebSocket(sock, Connection(ConnectionType.SERVER), process.web.settings)
        web_socket.outbox.put(answer)
        ClientSession(process, web_socket, request_id, user_id).run(token)

    return Takeover(serve)


@EVENTS
@blueprint.get("/events", provide_automatic_options=False)
def events() -> Response:
    """The event stream."""
    process = realtime()
    origin = check_origin(process.web.settings)
    _check_capacity(process)
    thread_ids = request.args.getlist("thread_id")
    if len(thread_ids) > MOST_THREADS:
        raise BadRequest(422, "too_many_threads", f"name at most {MOST_THREADS} threads")
    for thread_id in thread_ids:
        check_thread_id(thread_id)
    threads = frozenset(thread_ids) or None
    last_event_id = request.headers.get("Last-Event-ID")
    listening, until = process.web.tokens.verify_until(bearer(), on_behalf_of())
    check_scope(listening, READ)
    user_id = listening.user_id
    if not process.connections.acquire(user_id):
        raise BadRequest(503, "too_many_sockets", "this user has too many streams open")

    def serve(sock: Any, headers: list[tuple[str, str]]) -> None:
        stream = EventStream(process, sock, listening, until)
        stream.run(_head(headers), threads, last_event_id)

    answer = Takeover(serve, mimetype="text/event-stream")
    if origin is not None:
        _allow(answer, origin)
    return answer


@blueprint.route("/events", methods=["OPTIONS"], provide_automatic_options=False)
def preflight() -> Response:
    """Tells a browser which pages may call, and with which headers."""
    answer = Response(status=204)
    origin = check_origin(realtime().web.settings)
    if origin is not None:
        _allow(answer, origin)
        answer.headers["Access-Control-Allow-Headers"] = "Authorization, Last-Event-ID"
        answer.headers["Access-Control-Max-Age"] = "600"
    return answer


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


def _allow(answer: Response, origin: str) -> None:
    answer.headers["Access-Control-Allow-Origin"] = origin
    answer.headers["Vary"] = "Origin"


_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def check_origin(settings: Settings) -> str | None:
    """The origin of the calling page, if there is one. Raises `BadRequest` for a foreign one."""
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
