"""Turns an HTTP request into a statement, with the parameters of ClickHouse's own interface."""

import gzip
import importlib
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import SplitResult, parse_qsl, urlsplit

from embedded.clickhouse.engine import Statement

MAX_BODY_BYTES = 512 * 1024 * 1024
PARAM_PREFIX = "param_"

# Parameters that are no settings: credentials, the form of the answer, and behaviour that is fixed
# here (an insert is always written before it is acknowledged).
_NOT_SETTINGS = {
    "query",
    "database",
    "default_format",
    "user",
    "password",
    "quota_key",
    "role",
    "session_id",
    "session_timeout",
    "session_check",
    "close_session",
    "query_id",
    "wait_end_of_query",
    "buffer_size",
    "enable_http_compression",
    "client_protocol_version",
    "stacktrace",
    "compress",
    "decompress",
    "async_insert",
    "wait_for_async_insert",
}
_OPTIONAL_DECODERS = {
    "lz4": ("lz4.frame", "decompress"),
    "zstd": ("backports.zstd", "decompress"),
}


SYNTAX_ERROR = 62
NOT_IMPLEMENTED = 48
POCO_EXCEPTION = 1000


class UnservedStatement(Exception):
    """A request this server cannot serve, with the HTTP status and ClickHouse's code for it."""

    def __init__(self, status: HTTPStatus, message: str, code: int = POCO_EXCEPTION) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def load_decoders() -> None:
    """Load modules that the first body would otherwise load."""
    for module, _ in _OPTIONAL_DECODERS.values():
        with suppress(ImportError):
            importlib.import_module(module)


def read_statement(method: str, target: str, encoding: str, body: bytes) -> Statement:
    """Return the statement of a request.

    Args:
        method: GET may only read, as with ClickHouse.
        target: Path and query string of the request line.
        encoding: Its Content-Encoding, empty for none.
        body: Its body as received.

    Raises:
        BadRequest: No statement, or a body that cannot be decoded.
    """
    fields = dict(parse_qsl(parts_of(target).query, keep_blank_values=True))
    _refuse_native_compression(fields)
    body = _decoded(body, encoding)
    text = fields.get("query", "").encode()
    if not text.strip():
        text, body = body, b""
    if not text.strip():
        raise UnservedStatement(HTTPStatus.BAD_REQUEST, "Empty query", SYNTAX_ERROR)
    return Statement(
        text=text,
        data=body,
        database=fields.get("database") or "default",
        format=fields.get("default_format") or "TabSeparated",
        settings=_settings(fields),
        params=_params(fields),
        read_only=method != "POST",
    )


def parts_of(target: str) -> SplitResult:
    """Return the parts of a request's target. Raises `UnservedStatement`."""
    try:
        return urlsplit(target)
    except ValueError as error:
        raise UnservedStatement(HTTPStatus.BAD_REQUEST, "the address is none") from error


def _settings(fields: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in fields.items()
        if name not in _NOT_SETTINGS and not name.startswith(PARAM_PREFIX)
    }


def _params(fields: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PARAM_PREFIX): value
        for name, value in fields.items()
        if name.startswith(PARAM_PREFIX)
    }


def _refuse_native_compression(fields: Mapping[str, str]) -> None:
    for name in ("compress", "decompress"):
        if fields.get(name, "0") not in {"0", ""}:
            message = f"{name}=1 is not supported here"
            raise UnservedStatement(HTTPStatus.NOT_IMPLEMENTED, message, NOT_IMPLEMENTED)


def _decoded(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if not body or encoding in {"", "identity"}:
        return body
    try:
        if encoding in {"gzip", "x-gzip"}:
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        if encoding in _OPTIONAL_DECODERS:
            module, function = _OPTIONAL_DECODERS[encoding]
            return bytes(getattr(importlib.import_module(module), function)(body))
    except ImportError:
        pass
    except Exception as error:
        message = f"the body is not valid {encoding}"
        raise UnservedStatement(HTTPStatus.BAD_REQUEST, message) from error
    message = f"Content-Encoding {encoding} is not supported here"
    raise UnservedStatement(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message, NOT_IMPLEMENTED)
