"""The HTTP owner of chDB: what it takes for a request, and how it refuses the rest."""

import re
import socket
from base64 import b64encode
from contextlib import ExitStack

import pytest
import requests

from embedded.clickhouse.access import MOST_STRANGERS
from support.calls.strangers import said_by
from support.stack.embedded_stack import ClickHouse

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


def test_settings_and_parameters_come_with_the_address(clickhouse: ClickHouse) -> None:
    ask = "SELECT getSetting('max_threads')"
    usual = clickhouse.ask(ask)
    assert clickhouse.ask(ask, max_threads="7") == "7\n"
    assert clickhouse.ask(ask) == usual
    assert clickhouse.ask("SELECT getSetting('async_insert')", async_insert="1") == "false\n"
    assert clickhouse.ask("SELECT {n:UInt8} + 1, {s:String}", param_n="4", param_s="a\\tb") == (
        "5\ta\\tb\n"
    )
    no_name = {"max_threads = 1, x": "1"}
    reply = clickhouse.http.post(clickhouse.address, params=no_name, data="SELECT 1")
    assert reply.status_code == 403
    assert clickhouse.send("SELECT 1", database="nowhere").status_code == 404


def test_a_get_only_reads_and_a_web_page_does_nothing(clickhouse: ClickHouse) -> None:
    drop = {"database": "threadkeep", "query": "DROP TABLE notes"}
    assert clickhouse.http.get(clickhouse.address, params=drop).status_code == 403
    foreign = {"Origin": "https://example.org"}
    reply = clickhouse.http.post(clickhouse.address, data="SELECT 1", headers=foreign)
    assert reply.status_code == 403
    assert clickhouse.ask("SELECT count() FROM notes") == "0\n"


def raw(clickhouse: ClickHouse, sent: bytes) -> tuple[int, str]:
    """The status and code of ClickHouse's with which the owner answers these bytes."""
    port = int(clickhouse.address.rpartition(":")[2])
    head = said_by(port, sent).partition("\r\n\r\n")[0]
    found = re.search(r"X-ClickHouse-Exception-Code: (\d+)", head)
    assert "Content-Type: text/plain" in head
    return int(head.split(" ", 2)[1]), found[1] if found else ""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /?" + b"a" * 1_100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"this is no request at all\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / SMTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["line", "headers", "header", "words", "version", "protocol", "word"],
)
def test_what_is_no_request_is_answered_as_clickhouse_would(
    clickhouse: ClickHouse, sent: bytes, status: int
) -> None:
    assert raw(clickhouse, sent) == (status, "1000")


def test_methods_and_addresses_that_nobody_means_are_refused_in_its_form(
    clickhouse: ClickHouse,
) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        reply = clickhouse.http.request(method, clickhouse.address)
        assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    known = b64encode(f"default:{clickhouse.password}".encode()).decode()
    head = "GET http://[/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    sent = f"{head}Authorization: Basic {known}\r\n\r\n".encode()
    assert raw(clickhouse, sent) == (400, "1000")


def test_an_address_may_be_as_long_as_clickhouses(clickhouse: ClickHouse) -> None:
    text = "a" * 1_000_000
    reply = clickhouse.http.get(
        clickhouse.address, params={"query": "SELECT length({t:String})", "param_t": text}
    )
    assert reply.text == f"{len(text)}\n"


def test_its_password_is_taken_as_clickhouse_takes_it(clickhouse: ClickHouse) -> None:
    ways = (
        {"headers": {"X-ClickHouse-User": "default", "X-ClickHouse-Key": clickhouse.password}},
        {"headers": {"X-ClickHouse-Key": clickhouse.password}},
        {"auth": ("default", clickhouse.password)},
    )
    for way in ways:
        assert requests.post(clickhouse.address, data="SELECT 1", **way).text == "1\n"
    for user, password in (
        *(("default", ""), ("", ""), ("other", clickhouse.password)),
        *(("default", clickhouse.password + "a"), ("default", clickhouse.password[:-1])),
    ):
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        for given in ({"headers": headers}, {"auth": (user, password)}):
            if user == "" and "auth" in given:
                continue
            reply = requests.post(clickhouse.address, data="SELECT 1", **given)
            assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
            assert "DB::Exception" in reply.text


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *(("/", 200), ("http://localhost/", 200), ("http://evil.example/", 403)),
        *(("http://localhost@evil.example/", 403), ("evil.example:80", 403), ("*", 403)),
    ],
)
def test_a_whole_address_obeys_the_rule_of_names(
    clickhouse: ClickHouse, target: str, status: int
) -> None:
    known = b64encode(f"default:{clickhouse.password}".encode()).decode()
    head = f"GET {target}?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    sent = f"{head}Authorization: Basic {known}\r\n\r\n".encode()
    found = said_by(int(clickhouse.address.rpartition(":")[2]), sent)
    assert int(found.split(" ", 2)[1]) == status


def test_no_stranger_is_waited_for(clickhouse: ClickHouse) -> None:
    port = int(clickhouse.address.rpartition(":")[2])
    with ExitStack() as opened:
        links = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(MOST_STRANGERS + 3)
        ]
        links[-1].sendall(b"POST / HTTP/1.1\r\nHost: ")
        # Of too many the first make room at once; the time of the others ends.
        assert clickhouse.ask("SELECT 1") == "1\n"
        for link in links:
            assert b"200 OK" not in link.recv(1024)
    assert clickhouse.ask("SELECT 1") == "1\n"
