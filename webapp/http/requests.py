"""What happens around every request: an id, who is calling, and the body as a typed value."""

import codecs
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import structlog
from flask import Flask, Request, Response, g, request
from flask.globals import app_ctx, request_ctx

from models import ids
from storage.resilience import budget
from storage.telemetry.instruments import Instruments
from webapp.http.auth import bearer_of
from webapp.http.context import admit, of
from webapp.http.errors import BadRequest, UnsupportedCoding
from webapp.http.json_answer import JsonAnswer
from webapp.http.origins import PREFLIGHT, VARY, Origins

log = structlog.get_logger(__name__)

T = TypeVar("T")

PUBLIC = frozenset(
    {
        "health.healthz",
        "health.readyz",
        # It checks the token itself, which may be its own.
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

UNLIMITED_TIME = "admin."
"""Endpoints without the time limit of a request: operators wait for answers about all users."""

SLOW_SECONDS = 1.0
"""A request that took longer is logged."""
UUIDS = ("message_id", "alert_id")
"""The path parameters that are UUIDs, which may be written in capitals."""
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
NO_ROUTE = "none"
MAX_PAGE = 1000
DEFAULT_PAGE = 50
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip and zstd begin."""
_MARKED = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NUMBER = re.compile("[0-9]{1,9}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def register(app: Flask, public: frozenset[str] = PUBLIC) -> None:
    """Gives every request an id and a caller, and every answer its headers."""

    own = of(app)

    @app.before_request
    def begin() -> Response | None:
        # Each access through one of Flask's proxies costs five calls, and this runs every time.
        now, about = request_ctx.request, app_ctx.g
        about.started = time.perf_counter()
        endpoint = now.endpoint
        if endpoint is not None and endpoint.startswith(UNLIMITED_TIME):
            budget.end()
        else:
            budget.begin()
        given = now.environ.get("HTTP_X_REQUEST_ID", "")
        about.request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        if "HTTP_ORIGIN" in now.environ and now.method == "OPTIONS":
            # A preflight: browsers ask so before the request that has the token.
            check_origin(own.origins)
            return Response(status=204, headers=PREFLIGHT)
        if endpoint is not None and endpoint not in public:
            admit(own, now, endpoint)
        for name in UUIDS:
            # Capitals are allowed (RFC 9562, section 4).
            if now.view_args and name in now.view_args:
                now.view_args[name] = now.view_args[name].lower()
        return None

    @app.after_request
    def end(response: Response) -> Response:
        # What is still to be streamed has no time limit.
        budget.end()
        now, about = request_ctx.request, app_ctx.g
        _measure(own.services.tiers.instruments, now, time.perf_counter() - about.started, response)
        headers = response.headers
        headers.add("X-Request-ID", about.request_id)
        headers.add("X-Content-Type-Options", "nosniff")
        if "HTTP_ORIGIN" in now.environ:
            headers.extend(own.origins.headers(now.environ["HTTP_ORIGIN"]))
        elif "Cache-Control" in headers:
            # Whoever keeps this answer must not give it to pages, which need some more of it.
            headers.add(*VARY)
        if "taken" in about:
            headers.extend(about.taken.headers)
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", "no-store")
        return response


def check_origin(origins: Origins) -> None:
    """Raises `BadRequest` for a page of a foreign origin."""
    origin = request.environ.get("HTTP_ORIGIN")
    own = f"{request.scheme}://{request.host}"
    if origin is not None and origin != own and not origins.allow(origin):
        detail = f"pages of {origin[:200]} may not call this: THREADKEEP_ORIGINS does not name it"
        raise BadRequest(403, "foreign_origin", detail)


def measured(app: Flask) -> Iterator[tuple[str, str]]:
    """The route template and method of every request that the application serves."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) & METHODS:
            yield rule.rule, method


def _measure(instruments: Instruments, now: Request, seconds: float, response: Response) -> None:
    """Counts a request. Unknown paths share one label, as anybody can ask for any path."""
    rule, method = now.url_rule, now.method
    route = rule.rule if rule is not None and method in METHODS else NO_ROUTE
    named = method if route != NO_ROUTE else ""
    measure(instruments, route, named, response.status_code, seconds)


def measure(
    instruments: Instruments,
    route: str,
    method: str,
    status: int,
    seconds: float,
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Counts a request that was answered, and logs one that was slow. `about` is what its log line
    cannot find out by itself."""
    if seconds > SLOW_SECONDS:
        log.warning("slow_request", status=status, took_ms=round(seconds * 1000, 1), **about)
    instruments.requested(route, method, status, seconds)


def bearer() -> str:
    """The bearer token of the request. Raises `InvalidToken`."""
    return bearer_of(request.environ.get("HTTP_AUTHORIZATION", ""))


def latency_ms() -> float:
    """Milliseconds since this request began."""
    elapsed: float = time.perf_counter() - g.started
    return round(elapsed * 1000, 3)


def body_as(shape: type[T]) -> T:
    """The body as a typed value. Raises `BadRequest`."""
    return decode(_body(), shape)


def optional_body_as(shape: type[T]) -> T:
    """The body as a typed value, that of an empty object where there is none. Raises
    `BadRequest`."""
    return decode(_body() or b"{}", shape)


def _body() -> bytes:
    coding = request.environ.get("HTTP_CONTENT_ENCODING", "identity")
    if coding.lower() not in {"", "identity"}:
        detail = f"a body with Content-Encoding {coding[:64]!r} is not taken; send it as it is"
        raise UnsupportedCoding(detail)
    return request.get_data(cache=False)


def decode(data: bytes, shape: type[T]) -> T:
    """JSON as a typed value. Raises `BadRequest`, which says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise BadRequest(422, "invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _is_json(data):
            # Only a laxer parser takes it: it has lone surrogates or numbers that are not finite.
            detail = "the body holds a lone surrogate or a number that is not finite"
            raise BadRequest(422, "text_unkeepable", detail) from None
        raise BadRequest(400, "malformed_json", _why_no_json(data, str(error))) from None
    except RecursionError:
        raise BadRequest(422, "invalid_body", "the body is nested too deeply") from None


def _is_json(data: bytes) -> bool:
    """Whether a laxer parser accepts it as UTF-8. Given bytes, that parser would guess at other
    encodings."""
    try:
        json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return False
    return True


def _why_no_json(data: bytes, found: str) -> str:
    if not data:
        return "the body is empty, where JSON was expected"
    if data.startswith(_COMPRESSED):
        return "the body is compressed, and no Content-Encoding says so; send JSON as it is"
    if data.startswith(_MARKED):
        return "the body begins with a byte order mark; JSON is sent as UTF-8 without one"
    if b"\0" in data[:4]:
        return "the body is not UTF-8, which JSON is sent in (RFC 8259, section 8.1)"
    return f"the body is not JSON: {found}"


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
    given = request.args.get(name)
    if given is None:
        return None
    try:
        # A plus that was not escaped arrives as a space.
        return ids.in_utc(given.replace(" ", "+"))
    except ValueError:
        detail = f"{name} must be a time as in RFC 3339, with its zone"
        raise BadRequest(422, f"invalid_{name}", detail) from None


def query_id_cursor() -> str | None:
    """The `cursor` of a list that goes by ids. Raises `BadRequest`."""
    cursor = request.args.get("cursor", "").lower() or None
    if cursor is not None and not ids.is_id(cursor):
        raise wrong_cursor()
    return cursor


def wrong_cursor() -> BadRequest:
    """The error for a cursor that this list never gave."""
    return BadRequest(422, "invalid_cursor", "cursor must be a next_cursor of this list")


def query_message_cursor(shard: int) -> str | None:
    """The `cursor` of a list of a thread's messages. Raises `BadRequest`.

    A cursor of another shard is refused: ids are in the order of time only within a shard.
    """
    cursor = query_id_cursor()
    if cursor is not None and ids.shard_in(cursor) != shard:
        raise wrong_cursor()
    return cursor


def answer_record(
    record: bytes, fields: msgspec.Struct, headers: dict[str, str], status: int = 200
) -> Response:
    """A stored message and the fields that this call adds, as one JSON object.

    The record is JSON already, so it is not encoded again.
    """
    return JsonAnswer(joined(record, fields), status, headers)


def joined(record: bytes, fields: msgspec.Struct) -> bytes:
    """The JSON object of a record with more fields."""
    return record[:-1] + b"," + msgspec.json.encode(fields)[1:]


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return JsonAnswer(msgspec.json.encode(body), status, headers)
