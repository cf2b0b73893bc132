"""What a call raises. Branch on the class, or on `code`, which docs/errors.md explains."""

from collections.abc import Mapping

import msgspec

from threadkeep_client.answers.messages import WrongField

_SHOWN_CHARACTERS = 200


class ThreadkeepError(Exception):
    """The base of all of them."""


class ConnectionLost(ThreadkeepError):
    """No answer came, also after the retries: nobody knows whether the call was carried out."""


class UnreadableAnswer(ThreadkeepError):
    """What came is no answer of Threadkeep's: something in between gave another one."""


class ApiError(ThreadkeepError):
    """The server refused.

    `code` never changes, `detail` is for people, `errors` names the fields that are wrong, and an
    operator finds the request in the log by `request_id`. `current_version` is given with a
    version conflict, `length` (bytes of UTF-8) with what a stream refuses, and `retry_after`
    (seconds) with what passes.
    """

    def __init__(self, status: int, problem: "Problem", retry_after: float | None) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.status = status
        self.code = problem.code
        self.detail = problem.detail
        self.errors = problem.errors
        self.request_id = problem.request_id
        self.current_version = problem.current_version
        self.length = problem.length
        self.retry_after = retry_after


class InvalidRequest(ApiError):
    """The request is wrong and stays wrong; `errors` says where."""


class NotAuthenticated(ApiError):
    """The token or key is missing, wrong, expired or revoked."""


class NotAllowed(ApiError):
    """The token or key may not do this."""


class NotFound(ApiError):
    """There is no such thing, or it is somebody else's."""


class Conflict(ApiError):
    """What is there does not allow it."""


class VersionConflict(Conflict):
    """Another version is current: `current_version`."""


class OffsetMismatch(Conflict):
    """The streamed text ends at `length`."""


class StreamInterrupted(Conflict):
    """The message was finished with what there was, because nothing came for long."""


class KeyReused(InvalidRequest):
    """The `Idempotency-Key` stands for another message, which is kept."""


class RateLimited(ApiError):
    """More than a limit allows was asked for. Nothing was done."""


class Unavailable(ApiError):
    """Nothing could take it now. A write may have happened: repeat it with the same key."""


class ServerFailed(ApiError):
    """Something went wrong at the server."""


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """The body of a refusal (RFC 9457)."""

    code: str
    detail: str = ""
    request_id: str | None = None
    errors: list[WrongField] = []
    current_version: int | None = None
    length: int | None = None


_BY_CODE: dict[str, type[ApiError]] = {
    "version_conflict": VersionConflict,
    "offset_mismatch": OffsetMismatch,
    "stream_interrupted": StreamInterrupted,
    "idempotency_key_reused": KeyReused,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Conflict,
    429: RateLimited,
    500: ServerFailed,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
PASSING = (ConnectionLost, RateLimited, Unavailable)
"""What the same request may be spared a little later."""


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an answer stands for, whoever gave it: a proxy knows no problem bodies."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        shown = body.decode(errors="replace")[:_SHOWN_CHARACTERS]
        problem = Problem(code=f"http_{status}", detail=shown)
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(status)
    if kind is None:
        kind = InvalidRequest if status < 500 else ServerFailed
    return kind(status, problem, _seconds(headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    """A `Retry-After`. One with a date is none of Threadkeep's."""
    return float(text) if text is not None and text.isdecimal() else None
