"""A real HTTP server that takes what is posted, keeps it, and answers as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Posted(NamedTuple):
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


class Receiver:
    """What came, oldest first. `statuses` are the answers to give first; then 204 is."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.posts: list[Posted] = []
        self.statuses: list[int] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.address}/hook"

    def told(self, event: str, kind: str) -> list[dict[str, Any]]:
        """The alerts of this type that it was told of by this event."""
        found = (post.told for post in self.posts)
        return [
            one["alert"] for one in found if (one["event"], one["alert"]["type"]) == (event, kind)
        ]

    def end(self) -> None:
        """From here on nobody listens there."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A server on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    receiver = Receiver(server)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.append(Posted(self.path, dict(self.headers), body))
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            self.send_response(status)
            if status in {301, 302, 307, 308}:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server.RequestHandlerClass = Handler
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.end()
        thread.join()
