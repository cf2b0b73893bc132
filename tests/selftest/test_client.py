"""A server that closes idle connections is not taken for one that is gone."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from selftest.record.client import RecordingClient
from support.waiting import eventually


class Server(ThreadingHTTPServer):
    """Closes a connection that is idle, and counts those it closed."""

    daemon_threads = True
    closed = 0

    def shutdown_request(self, request: object) -> None:
        super().shutdown_request(request)  # type: ignore[arg-type]
        self.closed += 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 0.2

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_connection_that_was_idle_for_long_is_made_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = RecordingClient(f"http://127.0.0.1:{server.server_port}", "token")
    assert client.call("GET", "/").status == 200
    eventually(lambda: server.closed == 1)
    monkeypatch.setattr("selftest.record.client.IDLE_SECONDS", 0.1)
    answer = client.call("GET", "/")
    assert (answer.outcome, answer.status) == ("answered", 200)
    assert answer.connected == answer.began
    client.close()


def test_one_that_was_used_of_late_is_used_again_and_its_end_is_told(server: Server) -> None:
    client = RecordingClient(f"http://127.0.0.1:{server.server_port}", "token")
    assert client.call("GET", "/").status == 200
    eventually(lambda: server.closed == 1)
    assert client.call("GET", "/").outcome == "cut"
    client.close()
