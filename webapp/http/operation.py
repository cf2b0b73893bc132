"""A call of the API as its description has it, stated above its route."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from flask import Flask

GROUPS = {
    "Messages": r"/api/(threads/\{thread_id\}/messages|messages)",
    "Threads": r"/api/threads",
    "Search and figures": r"/api/(search|analytics)",
    "Live events": r"/api/(events|ws)",
    "Sessions and runs": r"/api/(session|runs)",
    "Administration": r"/api/admin/",
    "The service": r"/",
}
"""The headings in order, and how the paths under each begin."""

GROUP_ABOUTS = {
    "Messages": "Post, read, edit and delete messages, one by one, in batches and chunk by chunk.",
    "Threads": "The threads that messages stand in.",
    "Search and figures": "Find messages by their words, and count them.",
    "Live events": "Where the realtime process tells of changes as they happen.",
    "Sessions and runs": "State that an application or an agent keeps, with versions.",
    "Administration": "For tokens with the role `admin` only.",
    "The service": "Health, addresses and versions.",
}
"""What is under each heading."""

KEY = "Idempotency-Key"
PAGE = ("limit", "cursor")
"""The query of a list that is read page by page."""

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_MARK = "operation"

View = TypeVar("View", bound=Callable[..., Any])


class Operation(msgspec.Struct, frozen=True):
    """One call: what it takes, what it answers, and which errors are its own.

    As a decorator it describes the function of a route; `operations` adds the route's own facts.
    """

    summary: str
    answers: dict[int, Any]
    body: Any = None
    query: tuple[str, ...] = ()
    """All query parameters; others are refused."""
    required: tuple[str, ...] = ()
    """Those of them that must be given."""
    repeated: tuple[str, ...] = ()
    """Those of them that may be given more than once."""
    headers: tuple[str, ...] = ()
    """The headers that it heeds; any other condition is refused."""
    errors: tuple[int, ...] = ()
    """Statuses beyond those that all calls of its kind may answer."""
    public: bool = False
    optional_body: bool = False
    method: str = ""
    path: str = ""
    name: str = ""
    description: str = ""
    """The docstring of its function."""

    def __call__(self, view: View) -> View:
        """The function of a route, described by this operation."""
        vars(view)[_MARK] = self
        return view

    @property
    def refuses_key(self) -> bool:
        """Whether it is a write that does not support `Idempotency-Key`."""
        return self.method != "get" and KEY not in self.headers

    @property
    def group(self) -> str:
        """Its heading, one of `GROUPS`."""
        return next(group for group, paths in GROUPS.items() if re.match(paths, self.path))


def operations(app: Flask) -> dict[str, Operation]:
    """The operations of an application by their endpoints, with method, path and name."""
    found: dict[str, Operation] = {}
    for rule in app.url_map.iter_rules():
        operation: Operation | None = vars(app.view_functions[rule.endpoint]).get(_MARK)
        if operation is None or rule.websocket:
            continue
        (method,) = (rule.methods or set()) & _METHODS
        found[rule.endpoint] = msgspec.structs.replace(
            operation,
            method=method.lower(),
            path=re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule),
            name=rule.endpoint.rpartition(".")[2],
            description=inspect.getdoc(app.view_functions[rule.endpoint]) or "",
        )
    return found
