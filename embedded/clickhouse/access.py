"""Access to the owner of chDB: with its password, under one of this machine's own names."""

import base64
import binascii
import hmac
import re
import socket
import threading
import time
from contextlib import suppress
from email.message import Message
from http import HTTPStatus

from embedded.clickhouse.request import UnservedStatement, parts_of
from embedded.clickhouse.server import USER

AUTHENTICATION_FAILED = 516
ACCESS_DENIED = 497
# A web page on a name that was pointed to this machine (DNS rebinding) sends that name. The port
# may be that of a proxy or a tunnel in front.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


MOST_STRANGERS = 256
SECONDS_OF_A_STRANGER = 5.0


class Strangers:
    """The connections that have not sent the password yet. Each has a few seconds for it.

    A client that knows it sends it at once, so if there are too many the oldest is closed.
    """

    def __init__(self) -> None:
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def add(self, link: socket.socket) -> None:
        """Take a new connection."""
        with self._lock:
            if len(self._since) >= MOST_STRANGERS:
                self._end_first()
            self._since[link] = time.monotonic()

    def remove(self, link: socket.socket) -> None:
        """Forget a connection: it has sent the password, or is being closed."""
        with self._lock:
            self._since.pop(link, None)

    def end_overdue(self) -> None:
        """Close the connections whose time is over."""
        overdue = time.monotonic() - SECONDS_OF_A_STRANGER
        with self._lock:
            while self._since and next(iter(self._since.values())) < overdue:
                self._end_first()

    def _end_first(self) -> None:
        link = next(iter(self._since))
        del self._since[link]
        # Its thread, which waits for bytes, reads the end and closes it.
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def refuse_foreign_names(headers: Message, target: str) -> None:
    """Refuse requests under another name, and those of web pages. Raises `UnservedStatement`."""
    hosts = headers.get_all("Host", [])
    if not target.startswith("/"):
        # The host of an absolute URL takes precedence over the header.
        hosts = [*hosts, parts_of(target).netloc]
    if not hosts or not all(_HOST.fullmatch(host.strip()) for host in hosts):
        raise _denied("this server does not answer under that name")
    if "Origin" in headers or "Sec-Fetch-Site" in headers:
        raise _denied("this server does not answer web pages")


def refuse_strangers(headers: Message, password: str) -> None:
    """Refuse requests without the password. Raises `UnservedStatement`."""
    user, given = _credentials(headers)
    is_known = hmac.compare_digest(user.encode(), USER.encode())
    if not hmac.compare_digest(given.encode(), password.encode()) or not is_known:
        message = "Authentication failed: password is incorrect, or there is no user with such name"
        raise UnservedStatement(HTTPStatus.FORBIDDEN, message, AUTHENTICATION_FAILED)


def _credentials(headers: Message) -> tuple[str, str]:
    """Return user and password as ClickHouse takes them: by its own headers, or as Basic."""
    if "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", USER), headers["X-ClickHouse-Key"]
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, given = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user or USER, given


def _denied(message: str) -> UnservedStatement:
    return UnservedStatement(HTTPStatus.FORBIDDEN, message, ACCESS_DENIED)
