"""Every error as a problem body (RFC 9457): stable `code`, human `detail`, `request_id`."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from models.message import InvalidMessage
from storage.consistency.reports import CheckRunning
from storage.errors import (
    AlreadyExists,
    ErasureUnderWay,
    NotFound,
    OnHold,
    StillRefused,
    StreamRefused,
    TierRejected,
    TierUnavailable,
)
from storage.message_storage import PreconditionFailed
from webapp.auth import InvalidToken

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 1
MAX_DISCARDED_BYTES = 32 * 1024 * 1024


class Problem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The body of every error. `current_version` only where that is what is wrong, and `length`,
    in bytes of UTF-8, where the text of a streaming message is not as the call takes it."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    current_version: int | None = None
    length: int | None = None


class BadRequest(Exception):
    """The request is not what the API takes. `code` is stable, the text is for a person."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    """An error answer."""
    body = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=g.get("request_id", ""),
        **more,
    )
    encoded = msgspec.json.encode(body)
    response = Response(encoded, status=status, mimetype="application/problem+json")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="threadkeep"'
    return response


def _log() -> structlog.typing.FilteringBoundLogger:
    """The log, with the id of this request."""
    bound: structlog.typing.FilteringBoundLogger = log.bind(request_id=g.get("request_id"))
    return bound


def _discard_body() -> None:
    """Reads what the client still sends, within reason: a client that is cut off while it sends
    never sees why."""
    left = MAX_DISCARDED_BYTES
    while left > 0 and (chunk := request.environ["wsgi.input"].read(min(left, 65_536))):
        left -= len(chunk)


def register(app: Flask) -> None:
    """Maps every exception to its answer, in one place."""

    @app.errorhandler(BadRequest)
    def bad_request(error: BadRequest) -> Response:
        return problem(error.status, error.code, str(error))

    @app.errorhandler(InvalidMessage)
    def invalid_message(error: InvalidMessage) -> Response:
        return problem(422, error.code, str(error))

    @app.errorhandler(InvalidToken)
    def invalid_token(error: InvalidToken) -> Response:
        # A connection whose request was not read to its end is closed behind the answer, and the
        # client's next request with it.
        _discard_body()
        return problem(401, "invalid_token", str(error))

    @app.errorhandler(NotFound)
    def not_found(_: NotFound) -> Response:
        return problem(404, "not_found", "there is no such thing, or it is not yours")

    @app.errorhandler(AlreadyExists)
    def already_exists(error: AlreadyExists) -> Response:
        return problem(409, "thread_exists", f"you already have a thread {error}")

    @app.errorhandler(OnHold)
    def on_hold(error: OnHold) -> Response:
        return problem(409, "legal_hold", f"{error}: nothing was erased")

    @app.errorhandler(ErasureUnderWay)
    def erasure_under_way(_: ErasureUnderWay) -> Response:
        return problem(409, "erasure_under_way", "this user is being erased, too late for a hold")

    @app.errorhandler(StillRefused)
    def still_refused(error: StillRefused) -> Response:
        detail = f"PostgreSQL refused it again, {error.attempts} times in all: {error.reason}"
        return problem(409, "still_refused", detail)

    @app.errorhandler(CheckRunning)
    def check_running(error: CheckRunning) -> Response:
        return problem(409, "check_running", str(error))

    @app.errorhandler(StreamRefused)
    def stream_refused(error: StreamRefused) -> Response:
        return problem(409, error.code, str(error), length=error.length)

    @app.errorhandler(PreconditionFailed)
    def precondition_failed(error: PreconditionFailed) -> Response:
        version = error.current_version
        return problem(412, "version_conflict", str(error), current_version=version)

    @app.errorhandler(TierUnavailable)
    def unavailable(error: TierUnavailable) -> Response:
        _log().warning("unavailable", tier=error.tier, reason=error.reason)
        verb = "do not" if " and " in error.tier else "does not"
        detail = f"{error.tier} {verb} answer; this is temporary, please try again"
        return problem(503, "storage_unavailable", detail)

    @app.errorhandler(TierRejected)
    def rejected(error: TierRejected) -> Response:
        _log().error("rejected", tier=error.tier, reason=error.reason)
        return problem(500, "storage_error", f"{error.tier} refused the request")

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        _discard_body()
        return problem(413, "body_too_large", "the body is larger than this call takes")

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
        answer = problem(status, code, error.description or HTTPStatus(status).phrase)
        for name, value in error.get_headers():
            if name.lower() not in {"content-type", "content-length"}:
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def unexpected(_: Exception) -> Response:
        _log().exception("unexpected")
        return problem(500, "internal_error", "something went wrong on this side")
