"""What happens around every request: an id, who is calling, and the body as a typed value."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog
from flask import Flask, Response, g, request

from models import ids
from storage import budget
from webapp.auth import InvalidToken
from webapp.context import web
from webapp.errors import BadRequest

log = structlog.get_logger(__name__)

T = TypeVar("T")

PUBLIC = frozenset(
    {
        "health.healthz",
        "health.readyz",
        # It looks at the token itself, which may be one of its own.
        "metrics.metrics",
        "docs.openapi_json",
        "docs.page",
        "docs.asset",
        "console.chat",
        "console.operations",
        "console.asset",
    }
)
"""The only endpoints of the API that answer without a token."""

UNHURRIED = "admin."
"""Endpoints that may take longer than a request: an operator waits for what is about everybody."""

SLOW_SECONDS = 1.0
"""A request that took longer is named in the log."""
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
NOWHERE = "none"
MAX_PAGE = 1000
DEFAULT_PAGE = 50
_NUMBER = re.compile("[0-9]{1,9}")
_VERSION = re.compile("[0-9]{1,18}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask, public: frozenset[str] = PUBLIC) -> None:
    """Gives every request an id and a caller, and every answer its headers."""

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        if not (request.endpoint or "").startswith(UNHURRIED):
            budget.begin()
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        if request.endpoint is not None and request.endpoint not in public:
            g.caller = web().tokens.verify(bearer())

    @app.after_request
    def end(response: Response) -> Response:
        # What is still to be streamed takes its time.
        budget.end()
        _measure(response)
        headers = response.headers
        headers["X-Request-ID"] = g.get("request_id", "")
        headers["X-Content-Type-Options"] = "nosniff"
        if "Cache-Control" not in headers:
            headers["Cache-Control"] = "no-store"
        return response


def measured(app: Flask) -> Iterator[tuple[str, str]]:
    """The route and method of every request that there is a place for."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) & METHODS:
            yield rule.rule, method


def _measure(response: Response) -> None:
    """What is no route of ours is one for all: anybody can ask for any path with any method."""
    rule = request.url_rule
    route = rule.rule if rule is not None and request.method in METHODS else NOWHERE
    method = request.method if route != NOWHERE else ""
    seconds = time.perf_counter() - g.started
    if seconds > SLOW_SECONDS:
        took_ms = round(seconds * 1000, 1)
        log.warning("slow_request", status=response.status_code, took_ms=took_ms)
    web().services.instruments.requested(route, method, response.status_code, seconds)


def bearer() -> str:
    """The token that the request brings. Raises `InvalidToken`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("the header Authorization: Bearer <token> is missing")
    return token.strip()


def latency_ms() -> float:
    """Milliseconds since this request began."""
    elapsed: float = time.perf_counter() - g.started
    return round(elapsed * 1000, 3)


def body_as(shape: type[T]) -> T:
    """The body as a typed value. Raises `BadRequest`."""
    return decode(request.get_data(cache=False), shape)


def decode(data: bytes, shape: type[T]) -> T:
    """JSON as a typed value. Raises `BadRequest` that says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise BadRequest(422, "invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _is_json(data):
            # What only a laxer parser takes: lone surrogates, and numbers that are not finite.
            detail = "the body holds a lone surrogate or a number that is not finite"
            raise BadRequest(422, "text_unkeepable", detail) from None
        raise BadRequest(400, "malformed_json", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest(422, "invalid_body", "the body is nested too deeply") from None


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def query_limit() -> int:
    """The `limit` of a list, 1 to 1000. Raises `BadRequest`."""
    given = request.args.get("limit", str(DEFAULT_PAGE))
    if _NUMBER.fullmatch(given) is None or not 1 <= int(given) <= MAX_PAGE:
        raise BadRequest(422, "invalid_limit", f"limit must be a number from 1 to {MAX_PAGE}")
    return int(given)


def query_order() -> str:
    """The `order` of a list, `asc` or `desc`. Raises `BadRequest`."""
    order = request.args.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest(422, "invalid_order", "order must be asc or desc")
    return order


def query_flag(name: str) -> bool | None:
    """A filter of a list, `true` or `false`, None if it is not given. Raises `BadRequest`."""
    given = request.args.get(name)
    if given not in {None, "true", "false"}:
        raise BadRequest(422, f"invalid_{name}", f"{name} must be true or false")
    return None if given is None else given == "true"


def query_time(name: str) -> str | None:
    """A time of a query as RFC 3339 in UTC with six digits, None if it is not given. Raises
    `BadRequest`."""
    given = request.args.get(name) or None
    if given is None:
        return None
    try:
        # A plus that nobody escaped arrives as a space.
        moment = datetime.fromisoformat(given.replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        detail = f"{name} must be a time as in RFC 3339, with its zone"
        raise BadRequest(422, f"invalid_{name}", detail) from None
    return ids.timestamp(min(max(0, ids.time_us(moment)), ids.MAX_MICROSECONDS))


def query_message_cursor(shard: int) -> str | None:
    """The `cursor` of a list of a thread's messages. Raises `BadRequest`.

    A cursor of another thread is refused: only within a shard is the order of ids that of time.
    """
    cursor = request.args.get("cursor") or None
    if cursor is not None and not (ids.is_id(cursor) and ids.shard_in(cursor) == shard):
        raise BadRequest(422, "invalid_cursor", "cursor must be a next_cursor of this list")
    return cursor


def if_match() -> int | None:
    """The version that `If-Match` asks for, None for any. Raises `BadRequest`."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    version = given.strip().removeprefix("W/").strip('"')
    if _VERSION.fullmatch(version) is None:
        raise BadRequest(400, "invalid_if_match", "If-Match must be an ETag of what it is about")
    return int(version)


def answer_record(
    record: bytes, fields: msgspec.Struct, headers: dict[str, str], status: int = 200
) -> Response:
    """A message as it is stored, and what this call says of it, as one JSON object.

    The record is JSON already: encoding a message twice is what a hot route can do without.
    """
    body = record[:-1] + b"," + msgspec.json.encode(fields)[1:]
    return Response(body, status=status, headers=headers, mimetype="application/json")


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    encoded = msgspec.json.encode(body)
    return Response(encoded, status=status, headers=headers, mimetype="application/json")
