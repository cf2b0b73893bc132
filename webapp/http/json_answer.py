"""A JSON answer, sent as it is."""

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Response


class JsonAnswer(Response):
    """An answer whose whole body is at hand, so that the server is given it without the copies and
    iterators that the base class makes for bodies of all kinds."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body, status, headers, content_type="application/json")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The body. Answers that have none are the base class's matter."""
        if self.status_code in {204, 304} or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return [self.get_data()]
