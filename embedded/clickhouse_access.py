"""Who may ask the owner of chDB: whoever knows its password, by one of this machine's own names."""

import base64
import binascii
import hmac
import re
from email.message import Message
from http import HTTPStatus

from embedded.clickhouse import USER
from embedded.clickhouse_request import BadRequest

AUTHENTICATION_FAILED = 516
ACCESS_DENIED = 497
# A page on a name that is made to mean this machine says that name here. The port may be another
# one: that of a proxy or a tunnel in front.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


def refuse_foreign_names(headers: Message) -> None:
    """Refuse requests under another name, and those of web pages. Raises `BadRequest`."""
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].strip()):
        raise _denied("this server does not answer under that name")
    if "Origin" in headers or "Sec-Fetch-Site" in headers:
        raise _denied("this server does not answer web pages")


def refuse_strangers(headers: Message, password: str) -> None:
    """Refuse requests without the password. Raises `BadRequest`."""
    user, given = _credentials(headers)
    is_known = hmac.compare_digest(user.encode(), USER.encode())
    if not hmac.compare_digest(given.encode(), password.encode()) or not is_known:
        message = "Authentication failed: password is incorrect, or there is no user with such name"
        raise BadRequest(HTTPStatus.FORBIDDEN, message, AUTHENTICATION_FAILED)


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


def _denied(message: str) -> BadRequest:
    return BadRequest(HTTPStatus.FORBIDDEN, message, ACCESS_DENIED)
