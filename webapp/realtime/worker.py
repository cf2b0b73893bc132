"""The gunicorn worker that serves sockets.

gunicorn's arbiter loads this module too and answers no request, so that only what answers one
imports the application, which takes 60 MB.
"""

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import gevent
import msgspec
from gunicorn.workers.ggevent import GeventWorker

CLOSE_ALL_SECONDS = 1.5
DISCARD_SECONDS = 0.25
DISCARD_BYTES = 64 * 1024
ERROR_WRITE_SECONDS = 1.0

_DETAILS = {
    431: "the headers are too large: a token may have 32 KiB, and a socket's can come in its first"
    " frame instead"
}
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class RealtimeWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types.
    """Lets routes take sockets over, and closes all of them when it is told to stop."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answers one request, after which a route may have taken the connection over.

        No route takes a body, so none is waited for: a request with one ends its connection.
        """
        if has_body := _has_body(req):
            req.force_close()
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            if has_body and sock.fileno() >= 0:
                _discard(sock)
        if sock.fileno() < 0:
            raise StopIteration

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Has gunicorn log the error and choose the status, and answers with that problem."""
        page = _Page()
        super().handle_error(req, page, addr, exc)
        found = _STATUS.match(page.written)
        if found is not None:
            with suppress(OSError), gevent.Timeout(ERROR_WRITE_SECONDS, False):
                client.sendall(_problem(int(found[1])))

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """On SIGTERM: lets no new client in, and asks the others to reconnect."""
        super().handle_exit(sig, frame)
        # A signal comes at any moment, so its handler must not wait.
        gevent.spawn(self._close_all)

    def _close_all(self) -> None:
        if self.booted:
            from webapp.realtime import process  # noqa: PLC0415

            process.of(self.wsgi).connections.close_all(CLOSE_ALL_SECONDS)

    def run(self) -> None:
        """Serves until told to stop, and returns when all clients have left."""
        super().run()
        self._close_all()


class _Page:
    """Stands in for a connection while gunicorn writes its error page."""

    def __init__(self) -> None:
        self.written = b""

    def sendall(self, data: bytes) -> None:
        self.written += data

    def setblocking(self, _: bool) -> None:
        pass

    def gettimeout(self) -> None:
        return None


def _has_body(req: Any) -> bool:
    headers = dict(req.headers)
    return headers.get("CONTENT-LENGTH", "0") != "0" or "TRANSFER-ENCODING" in headers


def _discard(sock: Any) -> None:
    """Reads a little of what still comes: a client cut off while it sends sees no answer."""
    left = DISCARD_BYTES
    with suppress(OSError), gevent.Timeout(DISCARD_SECONDS, False):
        while left > 0 and (read := len(sock.recv(min(left, 8_192)))):
            left -= read


def _problem(status: int) -> bytes:
    """The answer to bytes that never became a request of the application."""
    from webapp.http.errors import PROBLEM, Problem, code_of, type_of  # noqa: PLC0415

    phrase = HTTPStatus(status).phrase
    known = status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED
    code = code_of(status) if known else "internal_error"
    body = msgspec.json.encode(
        Problem(
            type=type_of(code),
            title=phrase,
            status=status,
            code=code,
            detail=_DETAILS.get(status, "this is no request that is understood here"),
            request_id="",
        )
    )
    head = (
        f"HTTP/1.1 {status} {phrase}",
        f"Content-Type: {PROBLEM}",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + body
