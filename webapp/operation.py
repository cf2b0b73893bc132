"""A row of the API's description."""

from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One call: what it takes, what it answers, and which errors are its own."""

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, Any]
    body: Any = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    public: bool = False
    optional_body: bool = False
