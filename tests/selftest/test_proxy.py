"""Every mode of the proxy, before a real Valkey and before a server that echoes."""

import asyncio
import gc
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.engine import make_url

from embedded.ports import HOST
from selftest.bed.proxy import FaultProxy
from support.stack.own_valkey import own_valkey
from support.waiting import eventually

SHORT_SECONDS = 0.3
BUSY_SECONDS = 0.02


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while piece := self.request.recv(65_536):
            self.request.sendall(piece)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that are reset are what these tests are about."""


@pytest.fixture
def echo() -> Iterator[FaultProxy]:
    with EchoServer((HOST, 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with FaultProxy(*server.server_address) as proxy:
            yield proxy
        server.shutdown()


@pytest.fixture(scope="module")
def valkey_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with own_valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield make_url(running.url).port or 0


@pytest.fixture
def valkey(valkey_port: int) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, valkey_port) as proxy:
        yield proxy


def connected(proxy: FaultProxy) -> socket.socket:
    client = socket.create_connection((proxy.host, proxy.port), timeout=5)
    assert said(client, b"hello") == b"hello"
    return client


def said(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return heard(client, len(text))


def heard(client: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length and (piece := client.recv(length - len(found))):
        found += piece
    return found


def client_of(port: int) -> redis.Redis:
    return redis.Redis(HOST, port, socket_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2)


def test_it_passes_large_pieces_unchanged_in_both_directions(echo: FaultProxy) -> None:
    text = bytes(range(256)) * 20_000
    with connected(echo) as client:
        threading.Thread(target=client.sendall, args=(text,)).start()
        assert heard(client, len(text)) == text


def test_the_end_of_a_stream_passes_too(echo: FaultProxy) -> None:
    with connected(echo) as client:
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        assert heard(client, 4) == b"last"
        assert client.recv(1) == b""
    eventually(lambda: echo.open_connections == 0)


def test_latency_delays_each_reply_by_as_much_and_not_by_the_sum(echo: FaultProxy) -> None:
    with connected(echo) as client:
        echo.latency(SHORT_SECONDS)
        started = time.monotonic()
        for _ in range(20):
            client.sendall(b"piece")
        assert len(heard(client, 100)) == 100
        assert SHORT_SECONDS <= time.monotonic() - started < 10 * SHORT_SECONDS


def test_refused_connections_are_refused_and_existing_ones_reset(echo: FaultProxy) -> None:
    with connected(echo) as client:
        echo.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((echo.host, echo.port))
    echo.pass_through()
    connected(echo).close()


def test_a_reset_ends_what_exists_and_lets_new_connections_through(echo: FaultProxy) -> None:
    with connected(echo) as client:
        echo.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    connected(echo).close()


def test_a_blackhole_swallows_and_ends_by_a_reset(echo: FaultProxy) -> None:
    with connected(echo) as old:
        echo.blackhole()
        with socket.create_connection((echo.host, echo.port), timeout=5) as new:
            for client in (old, new):
                client.sendall(b"gone")
                client.settimeout(SHORT_SECONDS)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                client.settimeout(5)
            echo.pass_through()
            for client in (old, new):
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
    connected(echo).close()


def test_what_a_blackhole_took_in_never_arrives(valkey: FaultProxy, valkey_port: int) -> None:
    with closing(client_of(valkey.port)) as client, closing(client_of(valkey_port)) as direct:
        client.ping()
        valkey.blackhole()
        with socket.create_connection((valkey.host, valkey.port), timeout=5) as raw:
            raw.sendall(b"SET swallowed 1\r\n")
            eventually(lambda: valkey.open_connections == 2)
            valkey.pass_through()
            with pytest.raises(ConnectionResetError):
                raw.recv(1)
        client.close()
        client.set("after", 1)
        assert direct.get("after") == b"1"
        assert direct.get("swallowed") is None


def test_a_stall_holds_bytes_and_delivers_them_afterwards(echo: FaultProxy) -> None:
    with connected(echo) as client:
        echo.stall()
        client.sendall(b"held")
        client.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5)
        echo.pass_through()
        assert heard(client, 4) == b"held"


def test_a_dropped_reply_leaves_the_request_applied(valkey: FaultProxy, valkey_port: int) -> None:
    with closing(client_of(valkey.port)) as client, closing(client_of(valkey_port)) as direct:
        direct.delete("counter")
        client.ping()
        valkey.drop_reply_matching(b"INCR")
        assert client.get("counter") is None
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
        assert valkey.dropped == 1
        assert direct.get("counter") == b"1"
        # Once and no more.
        assert client.incr("counter") == 2
        assert valkey.dropped == 1


def test_the_nth_request_loses_its_reply(valkey: FaultProxy) -> None:
    with closing(client_of(valkey.port)) as client:
        client.delete("counter")
        valkey.drop_reply(2)
        assert client.incr("counter") == 1
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
        assert client.incr("counter") == 3


def test_ending_the_faults_disarms_a_reply_that_was_to_be_dropped(valkey: FaultProxy) -> None:
    with closing(client_of(valkey.port)) as client:
        valkey.drop_reply(1)
        valkey.pass_through()
        assert client.ping()
        assert valkey.dropped == 0


@pytest.mark.parametrize("end", [FaultProxy.refuse, FaultProxy.close])
def test_whoever_connects_as_a_busy_proxy_stops_listening_is_closed(
    echo: FaultProxy, end: Callable[[FaultProxy], None]
) -> None:
    def keep_busy(loop: asyncio.AbstractEventLoop) -> None:
        time.sleep(BUSY_SECONDS)
        loop.call_soon(keep_busy, loop)

    for _ in range(5):
        with FaultProxy(*echo._target) as proxy:
            proxy._loop.call_soon_threadsafe(keep_busy, proxy._loop)
            clients = [
                socket.create_connection((proxy.host, proxy.port), timeout=5) for _ in range(5)
            ]
            end(proxy)
            for client in clients:
                with closing(client), suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            if end is FaultProxy.close:
                proxy.close = lambda: None
    # A transport or a socket that nobody closed warns as it is collected, which fails the test.
    gc.collect()
