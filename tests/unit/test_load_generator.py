"""The load generator of the benchmarks, against a server that answers as it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest

from benchmarks import load
from benchmarks.bench.measuring import LoadRun, median_run, ratio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nserver: any\r\n\r\nbody"
FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"


@contextmanager
def server(*parts: bytes) -> Iterator[str]:
    """Answers each request of one connection with the next of these, sent part by part."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65_536):
                    for part in parts:
                        connection.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


def request(url: str) -> bytes:
    return load.call("GET", url, "/", "token")


def test_an_answer_in_pieces_is_one_answer() -> None:
    with server(OK[:20], OK[20:60], OK[60:]) as url:
        assert load.once(url, request(url)) == b"body"


def test_the_length_is_found_in_either_case() -> None:
    with server(OK.replace(b"content-length", b"Content-Length")) as url:
        assert load.once(url, request(url)) == b"body"


def test_an_answer_that_is_not_200_is_an_error() -> None:
    with server(FAILED) as url:
        sample = load.run(url, 1, 0.01, lambda _: repeat(request(url)))
        assert sample.errors == len(sample.latencies) > 0
        assert sample.first_error.startswith("503 busy")
        assert sample.per_second == 0
    with server(FAILED) as url, pytest.raises(OSError, match="503"):
        load.once(url, request(url))


def test_clients_beside_are_not_timed_and_their_errors_count() -> None:
    with server(OK) as url:
        sample = load.run(url, 0, 0.01, lambda _: repeat(request(url)), [repeat(request(url))])
        assert (sample.latencies, sample.errors) == ([], 0)
    with server(FAILED) as url:
        assert load.run(url, 0, 0.01, lambda _: iter(()), [repeat(request(url))]).errors > 0


def run(rate: float, **micros: float) -> LoadRun:
    return LoadRun(rate, rate, 1, 2, 3, 4, micros)


def test_each_figure_is_a_median_by_itself_and_each_round_a_ratio() -> None:
    found = median_run([run(1, web=30), run(3, web=10), run(2, web=20)])
    assert (found.acknowledged, found.micros) == (2, {"web": 20})
    assert ratio([2, 9, 4], [1, 3, 4]) == 2
