"""What happens around every request: an id, who is calling, and the body as a typed value."""

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
import structlog
from flask import Flask, Request, Response, g, request
from flask.globals import app_ctx, request_ctx

from models import ids
from storage.resilience import budget
from storage.telemetry.instruments import Instruments
from webapp.http.auth import bearer_of, user_of
from webapp.http.body.wrong_fields import cut
from webapp.http.context import admit, of
from webapp.http.errors import BadRequest, WrongField
from webapp.http.json_answer import JsonAnswer
from webapp.http.origins import PREFLIGHT, VARY, Origins

log = structlog.get_logger(__name__)


PUBLIC = frozenset(
    {
        "health.healthz",
        "health.readyz",
        # It checks the token itself, which may be its own.
        "metrics.metrics",
        "docs.openapi_json",
        "docs.page",
        "error_page.errors",
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
UUIDS = ("message_id", "alert_id", "key_id", "revocation_id")
"""The path parameters that are UUIDs, which may be written in capitals."""
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
NO_ROUTE = "none"
MAX_PAGE = 1000
DEFAULT_PAGE = 50
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


def on_behalf_of() -> str | None:
    """The user whom the request names beside its key. Raises `NotAllowed`."""
    return user_of(request.environ.get("HTTP_THREADKEEP_USER"))


def latency_ms() -> float:
    """Milliseconds since this request began."""
    elapsed: float = time.perf_counter() - g.started
    return round(elapsed * 1000, 3)


def query_limit() -> int:
    """The `limit` of a list, 1 to 1000. Raises `BadRequest`."""
    given = request.args.get("limit", str(DEFAULT_PAGE))
    if _NUMBER.fullmatch(given) is None or not 1 <= int(given) <= MAX_PAGE:
        raise wrong_parameter("limit", f"a number from 1 to {MAX_PAGE}")
    return int(given)


def query_order() -> str:
    """The `order` of a list, `asc` or `desc`. Raises `BadRequest`."""
    return query_choice("order", ("asc", "desc"), "desc")


def query_choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    """A parameter that is one of a few words. Raises `BadRequest`."""
    given = request.args.get(name, default)
    if given != default and given not in allowed:
        raise wrong_parameter(name, f"one of {', '.join(allowed)}", allowed)
    return given


def query_flag(name: str) -> bool | None:
    """A filter of a list, `true` or `false`, None if it is not given. Raises `BadRequest`."""
    if name not in request.args:
        return None
    return query_choice(name, ("true", "false"), "true") == "true"


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
        raise wrong_parameter(name, "a time as in RFC 3339, with its zone") from None


def query_id_cursor() -> str | None:
    """The `cursor` of a list that goes by ids. Raises `BadRequest`."""
    cursor = request.args.get("cursor", "").lower() or None
    if cursor is not None and not ids.is_id(cursor):
        raise wrong_cursor()
    return cursor


def wrong_cursor() -> BadRequest:
    """The error for a cursor that this list never gave."""
    return wrong_parameter("cursor", "a next_cursor of this list")


def wrong_parameter(name: str, expected: str, allowed: Sequence[str] | None = None) -> BadRequest:
    """The error for a parameter of the query that has another value than it may."""
    given = cut(request.args.get(name, ""))
    detail = f"{name} is {given!r}, and must be {expected}"
    wrong = WrongField(
        field=f"?{name}", detail=detail, given=given, expected=expected, allowed=allowed
    )
    return BadRequest(422, f"invalid_{name}", detail, [wrong])


def query_message_cursor(shard: int) -> str | None:
    """The `cursor` of a list of a thread's messages. Raises `BadRequest`.

    A cursor of another shard is refused: ids are in the order of time only within a shard.
    """
    cursor = query_id_cursor()
    if cursor is not None and ids.shard_in(cursor) != shard:
        raise wrong_cursor()
    return cursor


def answer_page(page: Any) -> Response:
    """A JSON answer with a page of a list, and a link to the next one."""
    return answer(page, headers=asked().link_to(page.next_cursor))


class Asked(NamedTuple):
    """The path and the query of a request for a page of a list."""

    path: str
    query: Sequence[tuple[str, str]]

    def link_to(self, cursor: str | None) -> dict[str, str]:
        """The `Link` header (RFC 8288) to the page at a cursor; none after the last page."""
        if cursor is None:
            return {}
        rest = [(name, value) for name, value in self.query if name != "cursor"]
        address = f"{quote(self.path)}?{urlencode([*rest, ('cursor', cursor)])}"
        return {"Link": f'<{address}>; rel="next"'}


def asked() -> Asked:
    """What this request asks for."""
    return Asked(request.path, list(request.args.items(multi=True)))


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
