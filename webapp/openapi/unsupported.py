"""Refuses what a route would ignore: conditions, query parameters and a key that it does not
support, as unknown fields of a body are refused.

What a route supports is in its `Operation`, from which the description is made too.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import Flask, request
from flask.globals import request_ctx

from webapp.http.body.wrong_fields import cut, unknown_name
from webapp.http.errors import BadRequest, WrongField
from webapp.http.operation import KEY, Operation, operations

CONDITIONS = {
    "HTTP_IF_MATCH": "If-Match",
    "HTTP_IF_NONE_MATCH": "If-None-Match",
    "HTTP_IF_MODIFIED_SINCE": "If-Modified-Since",
    "HTTP_IF_UNMODIFIED_SINCE": "If-Unmodified-Since",
    "HTTP_IF_RANGE": "If-Range",
}
"""Their names in the environment of a request, and as clients write them."""

_CHECKED = (*CONDITIONS, "HTTP_IDEMPOTENCY_KEY")

_OUTRANKED = {
    "If-Modified-Since": "If-None-Match",
    "If-Unmodified-Since": "If-Match",
}
"""Conditions that are ignored beside another (RFC 9110, sections 13.1.3 and 13.1.4)."""

_MAY_BE_EMPTY = frozenset({"cursor", "q"})
"""An empty cursor asks for the first page; an empty search is refused by the search."""


class Heeded(NamedTuple):
    """What a route supports. `query` is None where any parameter may be given."""

    conditions: tuple[str, ...] = ()
    query: tuple[str, ...] | None = ()
    repeated: tuple[str, ...] = ()
    refuses_key: bool = False


_PAGE = Heeded(("If-None-Match",), None)
_FILE = Heeded(("If-None-Match", "If-Modified-Since", "If-Range"), None)
UNDESCRIBED = {
    "console.chat": _PAGE,
    "console.operations": _PAGE,
    "docs.page": _PAGE,
    "error_page.errors": _PAGE,
    "docs.openapi_json": Heeded(("If-None-Match",)),
    "console.asset": _FILE,
    "docs.asset": _FILE,
    "metrics.metrics": Heeded(),
}
"""Routes without a description: pages and files, whose queries only caches look at, the description
itself, and metrics."""


def register(app: Flask) -> None:
    """Checks every request before its route. Call it when the application has all its routes."""
    described = operations(app)
    heeded = {
        endpoint: _heeded(endpoint, described.get(endpoint)) for endpoint in app.view_functions
    }

    @app.before_request
    def check() -> None:
        # Costs a look-up for each header, and nothing else where there is none and no query.
        environ = request_ctx.request.environ
        if environ.get("QUERY_STRING"):
            _check(environ, heeded)
            return
        for key in _CHECKED:
            if key in environ:
                _check(environ, heeded)
                return


def _heeded(endpoint: str, operation: Operation | None) -> Heeded:
    """A route without a description supports nothing, unless it is in `UNDESCRIBED`."""
    if operation is None:
        return UNDESCRIBED.get(endpoint, Heeded())
    return Heeded(operation.headers, operation.query, operation.repeated, operation.refuses_key)


def _check(environ: Mapping[str, Any], routes: Mapping[str, Heeded]) -> None:
    """Raises `BadRequest` for what the route of this request would ignore."""
    # A preflight announces another request, which is checked itself.
    if request.endpoint is None or request.method == "OPTIONS":
        return
    heeded = routes[request.endpoint]
    if heeded.query is not None:
        _check_query(heeded.query, heeded.repeated)
    if heeded.refuses_key and "HTTP_IDEMPOTENCY_KEY" in environ:
        raise BadRequest(400, "idempotency_key_unsupported", f"this call takes no {KEY}")
    given = {name: environ[key] for key, name in CONDITIONS.items() if key in environ}
    for name, value in given.items():
        if name not in heeded.conditions:
            if _OUTRANKED.get(name) in given.keys() & heeded.conditions:
                continue
            raise _refusal(name, heeded.conditions)
        if not value.strip():
            raise BadRequest(400, "condition_unsupported", f"{name} is empty")


def _check_query(known: tuple[str, ...], repeated: tuple[str, ...]) -> None:
    for name, values in request.args.lists():
        if name not in known:
            detail = unknown_name("parameter", name, known)
            wrong = WrongField(field=f"?{cut(name)}", detail=detail, allowed=known)
            raise BadRequest(422, "unknown_parameter", detail, [wrong])
        if len(values) > 1 and name not in repeated:
            raise BadRequest(422, f"invalid_{name}", f"{name} is given {len(values)} times")
        if "" in values and name not in _MAY_BE_EMPTY:
            raise BadRequest(422, f"invalid_{name}", f"{name} is empty; leave it out")


def _refusal(name: str, heeded: tuple[str, ...]) -> BadRequest:
    known = [one for one in CONDITIONS.values() if one in heeded]
    these = f"only {' and '.join(known)}" if known else "no condition"
    return BadRequest(400, "condition_unsupported", f"this call does not heed {name}: {these}")
