"""The worker of gunicorn that serves sockets."""

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import gevent
import msgspec
from gunicorn.workers.ggevent import GeventWorker

from webapp.http.errors import PROBLEM, Problem, code_of
from webapp.realtime import process

DISMISS_SECONDS = 1.5
DISCARD_SECONDS = 0.25
DISCARD_BYTES = 64 * 1024
SAY_SECONDS = 1.0

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class RealtimeWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types.
    """Lets sockets be taken over, and says goodbye to all of them when it is told to stop."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answers one request, after which the connection may be somebody else's.

        None of the routes has a use for a body: one is not waited for, and its connection ends.
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
        """Has gunicorn log what is wrong and say which status it is, and answers with that."""
        page = _Page()
        super().handle_error(req, page, addr, exc)
        found = _STATUS.match(page.written)
        if found is not None:
            with suppress(OSError), gevent.Timeout(SAY_SECONDS, False):
                client.sendall(_problem(int(found[1])))

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Told to stop: nobody new is let in, and who is here is told to come back."""
        super().handle_exit(sig, frame)
        # A signal comes at any moment, and nothing in its handler may wait.
        gevent.spawn(self._dismiss)

    def _dismiss(self) -> None:
        if self.booted:
            process.of(self.wsgi).guests.dismiss(DISMISS_SECONDS)

    def run(self) -> None:
        """Serves until told to stop, and returns when everyone has left."""
        super().run()
        self._dismiss()


class _Page:
    """Stands in for a connection while gunicorn writes its page of an error."""

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
    """Reads a little of what still comes: who is cut off while it sends never sees why."""
    left = DISCARD_BYTES
    with suppress(OSError), gevent.Timeout(DISCARD_SECONDS, False):
        while left > 0 and (read := len(sock.recv(min(left, 8_192)))):
            left -= read


def _problem(status: int) -> bytes:
    """An error answer to what never became a request of the application."""
    phrase = HTTPStatus(status).phrase
    known = status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED
    body = msgspec.json.encode(
        Problem(
            type="about:blank",
            title=phrase,
            status=status,
            code=code_of(status) if known else "internal_error",
            detail="this is no request that is understood here",
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
