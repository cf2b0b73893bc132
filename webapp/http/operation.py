"""A call of the API, as its description has it."""

import re
from typing import Any, NamedTuple

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

KEY = "Idempotency-Key"


class Operation(NamedTuple):
    """One call: what it takes, what it answers, and which errors are its own."""

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, Any]
    body: Any = None
    query: tuple[str, ...] = ()
    """All query parameters; others are refused."""
    repeated: tuple[str, ...] = ()
    """Those of them that may be given more than once."""
    headers: tuple[str, ...] = ()
    """The headers that it heeds; any other condition is refused."""
    errors: tuple[int, ...] = ()
    public: bool = False
    optional_body: bool = False

    @property
    def refuses_key(self) -> bool:
        """Whether it is a write that does not support `Idempotency-Key`."""
        return self.method != "get" and KEY not in self.headers

    @property
    def group(self) -> str:
        """Its heading, one of `GROUPS`."""
        return next(group for group, paths in GROUPS.items() if re.match(paths, self.path))
