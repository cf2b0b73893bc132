"""The answers of an operation: what each status means, its headers and its body."""

import inspect
from typing import Any

from webapp.api.states import SavedRunState, SavedSession
from webapp.http import schemas
from webapp.http.errors import PROBLEM, Problem
from webapp.http.operation import KEY, Operation
from webapp.openapi.shapes import reference

PREFIX = "#/components/responses/"
PROBLEMS = {
    400: (
        "BadRequest",
        "The request cannot be read, or has a header that the call does not take.",
    ),
    401: ("Unauthorized", "The token is missing, wrong or expired."),
    403: ("Forbidden", "The caller may not do this; the calls under `/api/admin` are for admins."),
    404: ("NotFound", "The caller has nothing with this id; somebody else's id answers alike."),
    409: ("Conflict", "It conflicts with what is there; `code` says how."),
    412: ("PreconditionFailed", "The condition names another version than `current_version`."),
    413: ("BodyTooLarge", "The body is larger than this call takes."),
    415: ("UnsupportedCoding", "The body is compressed, which no call takes."),
    422: ("Unprocessable", "A field or a parameter is wrong; `detail` says which."),
    429: ("TooManyRequests", "That was too often; try again after `Retry-After` seconds."),
    503: ("Unavailable", "This is temporary; try again after `Retry-After` seconds."),
}
"""What an error means, and the name of its answer among the components."""

_VERSIONED = (schemas.AcknowledgedMessage, SavedSession, SavedRunState)
"""Answers that have the `ETag` of the version that was written."""
_HEADERS = {
    "X-Request-ID": "The id of the request, the client's own if it sent one.",
    "ETag": "The version of what is answered, for `If-Match` and `If-None-Match`.",
    "Idempotency-Replayed": "`true` where the message is the first one of its key.",
    "Link": 'The address of the next page (`rel="next"`), where there is one.',
    "Location": "Where to go on.",
    "Retry-After": "After how many seconds to try again.",
    "RateLimit": "What the caller has left of the limit of such calls, where one is set.",
    "RateLimit-Policy": "That limit.",
    "WWW-Authenticate": "How to authenticate.",
    "Accept-Encoding": "The encoding of a body that is taken.",
}
_OF_PROBLEMS = {
    401: "WWW-Authenticate",
    415: "Accept-Encoding",
    429: "Retry-After",
    503: "Retry-After",
}


def components() -> dict[str, dict[str, Any]]:
    """The headers and problems that operations refer to."""
    headers = {
        name: {"description": description, "schema": _header_schema(name)}
        for name, description in _HEADERS.items()
    }
    problems = {name: _problem(status) for status, (name, _) in PROBLEMS.items()}
    return {"headers": headers, "responses": problems}


def answers_of(operation: Operation, example: Any) -> dict[str, Any]:
    """The answers of an operation by status; the example is of the first."""
    found: dict[str, Any] = {}
    for status, shape in operation.answers.items():
        found[str(status)] = _answer(operation, status, shape, example)
        example = None
    if operation.method == "get" and "If-None-Match" in operation.headers:
        found["304"] = {
            "description": "Unchanged since the caller's copy.",
            "headers": _headers("X-Request-ID", "ETag"),
        }
    for status in sorted(_problems_of(operation)):
        found[str(status)] = {"$ref": PREFIX + PROBLEMS[status][0]}
    return found


def _answer(operation: Operation, status: int, shape: Any, example: Any) -> dict[str, Any]:
    names = ["X-Request-ID"]
    is_conditional = operation.method == "get" and "If-None-Match" in operation.headers
    if is_conditional or shape in _VERSIONED:
        names.append("ETag")
    if KEY in operation.headers:
        names.append("Idempotency-Replayed")
    if "cursor" in operation.query:
        names.append("Link")
    if status // 100 == 3:
        names.append("Location")
    if not operation.public:
        names += ("RateLimit", "RateLimit-Policy")
    found: dict[str, Any] = {"description": _meaning(status, shape), "headers": _headers(*names)}
    if shape is not None:
        content: dict[str, Any] = {"schema": reference(shape)}
        if example is not None:
            content["example"] = example
        found["content"] = {"application/json": content}
    return found


def _meaning(status: int, shape: Any) -> str:
    if shape is None:
        return "It is at that address." if status // 100 == 3 else "It is done."
    return inspect.cleandoc(shape.__doc__).partition("\n\n")[0].replace("\n", " ")


def _problems_of(operation: Operation) -> set[int]:
    """The statuses of its own errors, and those that every call of its kind may answer."""
    found = {400, 422, *operation.errors}
    if not operation.public:
        # 403 is for who is no admin, and for API keys without the scope.
        found |= {401, 403, 429, 503}
    if operation.body is not None:
        found |= {413, 415}
    if "If-Match" in operation.headers:
        found.add(412)
    return found


def _problem(status: int) -> dict[str, Any]:
    headers = ["X-Request-ID"]
    if status in _OF_PROBLEMS:
        headers.append(_OF_PROBLEMS[status])
    return {
        "description": PROBLEMS[status][1],
        "headers": _headers(*headers),
        "content": {PROBLEM: {"schema": reference(Problem)}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header_schema(name: str) -> dict[str, Any]:
    if name == "Retry-After":
        return {"type": "integer", "minimum": 0}
    return {"type": "string"}
