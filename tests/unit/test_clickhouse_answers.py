"""An answer that is not ClickHouse's is told as what it is, not by its first line."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from storage.clickhouse.driver import ClickHouse
from storage.errors import TierError, TierRejected, TierUnavailable

PAGE = b"<!DOCTYPE HTML>\n<html><title>502 Bad Gateway</title></html>"
ERROR = b"Code: 62. DB::Exception: Syntax error\nand more"


class Answer(BaseHTTPRequestHandler):
    """Gives every request the same answer."""

    status: ClassVar[int]
    body: ClassVar[bytes]
    headers_given: ClassVar[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        for name, value in self.headers_given.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[ClickHouse]:
    """A server that is none, as the tier reaches it."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"status": status, "body": body, "headers_given": given}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Answer,), told))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ClickHouse(f"clickhouse+http://127.0.0.1:{server.server_port}/default", 5)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, TierUnavailable), (404, TierUnavailable), (502, TierUnavailable), (414, TierRejected)],
)
def test_a_page_of_a_proxy(status: int, kind: type[TierError]) -> None:
    reason = f"HTTP {status} with text/html, which is not ClickHouse's answer"
    with answering(status, PAGE, Content_Type="text/html; charset=utf-8") as server:
        for ask in (
            server.ping,
            lambda: server.lines("SELECT 1"),
            lambda: server.insert("t", b"{}"),
        ):
            with pytest.raises(kind, match=reason) as caught:
                ask()
            assert "DOCTYPE" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X_ClickHouse_Exception_Code": "62"}, {}])
def test_an_error_of_clickhouse(headers: dict[str, str]) -> None:
    with answering(400, ERROR, **headers) as server:
        for ask in (server.ping, lambda: server.lines("SELECT 1")):
            with pytest.raises(TierRejected, match="Code: 62"):
                ask()


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(200, b"1\nString\n26.1\n", X_ClickHouse_Format="x") as server:
        server.ping()
        assert server.lines("SELECT 1")
