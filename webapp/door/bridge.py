"""Turns a request of the HTTP server into a call of the WSGI application, and back."""

import io
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog
from granian._granian import RSGIHeaders, RSGIHTTPProtocol
from granian.rsgi import Scope

from webapp.http.errors import BadRequest
from webapp.http.origins import Origins

log = structlog.get_logger(__name__)

CLOSE = ("Connection", "close")

_NOTHING: Mapping[str, Any] = {}

_SAME_FOR_ALL: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "Granian",
    "wsgi.errors": sys.stderr,
    # A body that is sent in chunks ends where this stream does.
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


class WsgiApplication(Protocol):
    """A WSGI application."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...


class DoorRequest:
    """A request as the HTTP server gives it.

    A connection whose body was not read to its end closes when the last reference to its protocol
    goes. That reference is here and is dropped with the answer, since an exception may hold the
    frames of the call for long.
    """

    def __init__(
        self, scope: Scope, proto: RSGIHTTPProtocol, served: set[str], origins: Origins
    ) -> None:
        """`served` has the client's address until the answer."""
        self.scope = scope
        self.client = scope.client
        self._origins = origins
        self._served = served
        served.add(self.client)
        # Each access to the property copies all headers.
        self.headers: RSGIHeaders = scope.headers
        self._proto: RSGIHTTPProtocol | None = proto

    @property
    def caller(self) -> str:
        """Who sends it, for sharing out turns: what it says of that, unproven, or its address."""
        headers = self.headers
        says = headers.get("authorization") or self.client.rpartition(":")[0]
        return f"{says} {headers.get('threadkeep-user', '')}"

    def begin_body(self) -> None:
        """Begins to read the body; called once, before the first `next_part`."""
        if self._proto is not None:
            self._proto.__aiter__()

    def next_part(self) -> Any:
        """A future of the next bytes, empty at the end or when the client is gone. Called once more
        it raises `StopAsyncIteration` only at the end."""
        proto: Any = self._proto
        return proto.__anext__()

    def respond(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Answers, and lets pages of allowed origins read it."""
        origin = self.headers.get("origin")
        if origin is not None:
            headers = [*headers, *self._origins.headers(origin)]
        self.respond_as_it_is(status, headers, content)

    def respond_as_it_is(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Answers; only the first call has an effect."""
        proto, self._proto = self._proto, None
        if proto is not None:
            self._served.discard(self.client)
            proto.response_bytes(status, headers, content)


class Missing(io.RawIOBase):
    """Stands for a body that did not come: reading it raises `BadRequest`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self._reason = (status, code, detail)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A stored exception would keep the frames of the call, and with them the connection.
        raise BadRequest(*self._reason)


class _Keys(dict[str, str]):
    """WSGI's names of headers, cached up to a limit."""

    _MOST = 200

    def __missing__(self, name: str) -> str:
        key = f"HTTP_{name.replace('-', '_').upper()}"
        if len(self) < self._MOST:
            self[name] = key
        return key


_KEYS = _Keys({"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"})


class _Start:
    """WSGI's `start_response`: keeps the status and the headers."""

    status = 500
    headers: list[tuple[str, str]]

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self.status, self.headers = int(status[:3]), headers


def answer(
    app: WsgiApplication,
    request: DoorRequest,
    body: bytes | Missing,
    more: Mapping[str, Any] = _NOTHING,
) -> None:
    """Has the application answer, with some more in the environment. Closes a connection whose body
    was not read to its end."""
    is_missing = isinstance(body, Missing)
    try:
        start = _Start()
        stream = body if isinstance(body, Missing) else io.BytesIO(body)
        made = app({**_environ(request, stream), **more}, start)
        try:
            content = b"".join(made)
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()
        headers = [*start.headers, CLOSE] if is_missing else start.headers
        request.respond_as_it_is(start.status, headers, content)
    # Whatever it is, the client waits for an answer, and the thread must survive.
    except BaseException as error:
        log.error("unexpected", exc_info=error)
        request.respond(500, [CLOSE], b"")


def _environ(request: DoorRequest, stream: io.RawIOBase | io.BytesIO) -> dict[str, Any]:
    """The request as WSGI has it. Headers with an underscore are left out: WSGI would have the
    same name for `Threadkeep_User` as for the one that proxies and the lanes know."""
    scope, headers = request.scope, request.headers
    host, _, port = scope.server.rpartition(":")
    environ = _SAME_FOR_ALL | {
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": _as_wsgi(scope.path),
        "QUERY_STRING": _as_wsgi(scope.query_string),
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": request.client.rpartition(":")[0].strip("[]"),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": stream,
    }
    before = len(environ)
    for name, value in headers.items():
        if "_" in name:
            continue
        key = _KEYS[name]
        if key in environ:
            environ[key] += ("; " if name == "cookie" else ",") + value
        else:
            environ[key] = value
    if len(environ) - before < len(headers.keys()):
        # The server leaves out values that are not ASCII. Their headers are there all the same.
        for name in headers.keys():  # noqa: SIM118 — it is no dictionary.
            if "_" not in name:
                environ.setdefault(_KEYS[name], "")
    if "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = scope.authority or ""
    return environ


def _as_wsgi(text: str) -> str:
    """Text as WSGI has it: a character for each byte."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")
