"""How large a body may be, asked where it is not there at once or is not small."""

import threading

from flask import Flask
from werkzeug.exceptions import HTTPException

from webapp.auth import InvalidToken
from webapp.context import of
from webapp.door.bridge import Request

BATCH = "batch.post_batch"
LARGEST_TOGETHER = 64 * 1024 * 1024
"""What the large bodies under way in a process may be together, where no single one may be more."""


def most_bytes(app: Flask, request: Request) -> int:
    """How large the body of a request may be; 0 where it is refused whatever it brings."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return 0
    web = of(app)
    try:
        web.tokens.verify(token.strip())
        endpoint, _ = app.url_map.bind("").match(request.scope.path, request.scope.method)
    except (InvalidToken, HTTPException):
        return 0
    if endpoint == BATCH:
        return web.settings.batch_body_bytes
    return int(app.config["MAX_CONTENT_LENGTH"])


class Room:
    """The memory for large bodies. Safe for threads."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there is room for so much more, which is taken then; `give` gives it back."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Gives room back."""
        with self._lock:
            self._left += size
