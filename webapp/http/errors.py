"""Every error as a problem body (RFC 9457): stable `code`, human `detail`, `request_id`."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import structlog
from flask import Flask, Response, current_app, g, has_request_context, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NotFoundPath

from jobs.consistency.reports import CheckRunning
from models.message import InvalidMessage
from models.search import InvalidQuery
from storage.errors import (
    AlreadyExists,
    Contended,
    Damaged,
    ErasureUnderWay,
    KeyReused,
    NotFound,
    OnHold,
    StillRefused,
    StreamRefused,
    TierRejected,
    TierUnavailable,
)
from storage.messages.storage_service import PreconditionFailed
from storage.states.service import StaleVersion
from storage.telemetry.refusals import RefusalLog
from webapp.identity.caller import InvalidTicket, InvalidToken, NotAllowed
from webapp.identity.loading import KeysUnavailable
from webapp.limits.buckets import RateLimited

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 1
PROBLEM = "application/problem+json"


class WrongField(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A field of a body, as `$.role`, or a parameter of a query, as `?limit`, that is not as the
    call takes it. `given` is cut short, and never a message's content; `allowed` lists the values,
    or for an unknown name the known ones."""

    field: str
    detail: str
    given: Any = None
    expected: str | None = None
    allowed: Sequence[Any] | None = None


class Problem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The body of every error. `current_version` only where that is what is wrong, `length`, in
    bytes of UTF-8, where the text of a streaming message is not as the call takes it, and `errors`
    where fields or parameters are wrong."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    current_version: int | None = None
    length: int | None = None
    errors: Sequence[WrongField] = ()


class BadRequest(Exception):
    """The request is wrong. `code` is stable, the text is for a person, and `errors` says what is
    wrong field by field, where that is known."""

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[WrongField] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.errors = errors


class UnsupportedCoding(BadRequest):
    """The body is compressed, which no call accepts."""

    def __init__(self, detail: str) -> None:
        super().__init__(415, "unsupported_content_encoding", detail)


class Fault(NamedTuple):
    """An exception as the caller sees it, over HTTP and on a socket alike."""

    status: int
    code: str
    detail: str
    current_version: int | None = None
    length: int | None = None
    errors: Sequence[WrongField] = ()


def _unavailable(error: TierUnavailable) -> Fault:
    """Distinguishes a tier that is down from one that is busy."""
    verb = "do not" if " and " in error.tier else "does not"
    what = f"{error.tier} {verb} answer"
    if isinstance(error, Contended):
        what = f"{error.reason} at the same moment"
    elif error.passing:
        what = f"{error.tier} is busy and could not do this just now"
    return Fault(503, "storage_unavailable", f"{what}; this is temporary, please try again")


def _is_conditional() -> bool:
    """Whether the request has a conditional header."""
    conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}
    return has_request_context() and not request.environ.keys().isdisjoint(conditions)


_FAULTS: dict[type[Exception], Callable[[Any], Fault]] = {
    BadRequest: lambda error: Fault(error.status, error.code, str(error), errors=error.errors),
    InvalidMessage: lambda error: Fault(422, error.code, str(error)),
    InvalidQuery: lambda error: Fault(422, error.code, str(error)),
    InvalidToken: lambda error: Fault(401, "invalid_token", str(error)),
    InvalidTicket: lambda error: Fault(401, "invalid_ticket", str(error)),
    NotAllowed: lambda error: Fault(403, error.code, str(error)),
    KeysUnavailable: lambda error: Fault(503, "keys_unavailable", str(error)),
    RateLimited: lambda error: Fault(429, "rate_limited", str(error)),
    NotFound: lambda _: Fault(404, "not_found", "there is no such thing, or it is not yours"),
    AlreadyExists: lambda error: Fault(409, "thread_exists", f"you already have a thread {error}"),
    OnHold: lambda error: Fault(409, "legal_hold", f"{error}: nothing was erased"),
    ErasureUnderWay: lambda _: Fault(
        409, "erasure_under_way", "this user is being erased, too late for a hold"
    ),
    StillRefused: lambda error: Fault(
        409,
        "still_refused",
        f"PostgreSQL refused it again, {error.attempts} times in all: {error.reason}",
    ),
    CheckRunning: lambda error: Fault(409, "check_running", str(error)),
    KeyReused: lambda error: Fault(422, "idempotency_key_reused", str(error)),
    PreconditionFailed: lambda error: Fault(
        412, "version_conflict", str(error), error.current_version
    ),
    StreamRefused: lambda error: Fault(409, error.code, str(error), length=error.length),
    StaleVersion: lambda error: Fault(
        412 if _is_conditional() else 409, "version_conflict", str(error), error.current_version
    ),
    Damaged: lambda _: Fault(
        500,
        "message_damaged",
        "no copy of this message matches its own hash, so nothing was changed: an operator finds"
        " it with `threadkeep check`",
    ),
    TierUnavailable: _unavailable,
    TierRejected: lambda error: Fault(500, "storage_error", f"{error.tier} refused the request"),
    Exception: lambda _: Fault(500, "internal_error", "something went wrong on this side"),
}
"""Maps every exception; one that is not named here is treated as its nearest base class."""


def fault_of(error: Exception, request_id: str) -> Fault:
    """The fault of an exception. One that the caller did not cause is logged."""
    kind = next(kind for kind in type(error).__mro__ if kind in _FAULTS)
    fault = _FAULTS[kind](error)
    bound = log.bind(request_id=request_id, status=fault.status)
    if isinstance(error, TierUnavailable):
        bound.warning("unavailable", tier=error.tier, reason=error.reason)
    elif isinstance(error, TierRejected):
        bound.error("rejected", tier=error.tier, reason=error.reason)
    elif isinstance(error, Damaged):
        bound.error("damaged", message_id=str(error))
    elif kind is Exception:
        bound.error("unexpected", exc_info=error)
    return fault


def problem(
    status: int,
    code: str,
    detail: str,
    current_version: int | None = None,
    length: int | None = None,
    errors: Sequence[WrongField] = (),
) -> Response:
    """An error answer."""
    body = Problem(
        type=type_of(code),
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=g.get("request_id", ""),
        current_version=current_version,
        length=length,
        errors=errors,
    )
    encoded = msgspec.json.encode(body)
    response = Response(encoded, status=status, mimetype=PROBLEM)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="threadkeep"'
    return response


_RENAMED = {414: "Request-URI Too Long", 416: "Requested Range Not Satisfiable"}
"""What statuses were called before Python 3.13, as codes stay."""


def type_of(code: str) -> str:
    """Where the paragraph of a code is, relative to the address that was called."""
    return f"/docs/errors#{code}"


def code_of(status: int) -> str:
    """The stable code of a plain HTTP error, as `not_found`."""
    phrase = _RENAMED.get(status) or HTTPStatus(status).phrase
    return phrase.lower().replace(" ", "_").replace("-", "_")


def _no_such_path() -> str:
    """The detail of a 404; the usual reason is a trailing slash."""
    path = request.path.rstrip("/")
    routes = current_app.create_url_adapter(request)
    if path and path != request.path and routes is not None and routes.test(path):
        return "this path does not exist; it does without the slash at its end"
    return "this path does not exist; /openapi.json names all that do"


def note_refusal(
    refusals: RefusalLog, error: Exception, fault: Fault, address: str, route: str | None
) -> None:
    """Tells of a caller who was refused, if that is what this error is."""
    reason = getattr(error, "reason", fault.code)
    if isinstance(error, RateLimited) and error.limit == "unauthenticated":
        refusals.note("login", fault.code, address, route)
    elif fault.status == HTTPStatus.UNAUTHORIZED:
        refusals.note("login", reason, address, route)
    elif fault.status == HTTPStatus.FORBIDDEN:
        refusals.note("permission", reason, address, route)


def register(app: Flask, refusals: RefusalLog) -> None:
    """Has every exception answered with a problem."""

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Response:
        found = fault_of(error, g.get("request_id", ""))
        route = request.url_rule.rule if request.url_rule else None
        note_refusal(refusals, error, found, request.environ.get("REMOTE_ADDR", ""), route)
        answer = problem(*found)
        if isinstance(error, UnsupportedCoding):
            # Tells the client which encoding to use (RFC 9110, section 12.5.3).
            answer.headers["Accept-Encoding"] = "identity"
        if isinstance(error, RateLimited):
            answer.headers["Retry-After"] = str(error.retry_after)
        return answer

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        return problem(413, "body_too_large", "the body is larger than this call takes")

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        detail = _no_such_path() if isinstance(error, NotFoundPath) else error.description
        answer = problem(status, code_of(status), detail or HTTPStatus(status).phrase)
        for name, value in error.get_headers():
            if name.lower() not in {"content-type", "content-length"}:
                answer.headers[name] = value
        return answer
