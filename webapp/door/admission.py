"""How large a body may be, asked where it is not there at once or is not small."""

import threading
from collections import Counter
from typing import NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException

from webapp.door.bridge import DoorRequest
from webapp.http.auth import InvalidToken
from webapp.http.context import of

BATCH = "batch.post_batch"
LARGEST_TOGETHER = 64 * 1024 * 1024
"""What the large bodies under way in a process may be together, where no single one may be more."""
SHARES = 4
"""One user may have so much of it, or one batch."""


class Allowed(NamedTuple):
    """Whose request it is, and how large its body may be; 0 where it is refused whatever it
    brings."""

    user_id: str
    most_bytes: int


REFUSED = Allowed("", 0)


def allowed(app: Flask, request: DoorRequest) -> Allowed:
    """What a request may bring."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return REFUSED
    web = of(app)
    try:
        caller = web.tokens.verify(token.strip())
        endpoint, _ = app.url_map.bind("").match(request.scope.path, request.scope.method)
    except (InvalidToken, HTTPException):
        return REFUSED
    if endpoint == BATCH:
        return Allowed(caller.user_id, web.settings.batch_body_bytes)
    return Allowed(caller.user_id, int(app.config["MAX_CONTENT_LENGTH"]))


class Room:
    """The memory for large bodies, of which nobody has more than a share. Safe for threads."""

    def __init__(self, most: int, share: int) -> None:
        """`most` is in bytes, and so is `share`, what one user may have of it."""
        self._left = most
        self._share = share
        self._lock = threading.Lock()
        self._taken: dict[object, tuple[str, int]] = {}
        self._of_users: Counter[str] = Counter()

    def take(self, holder: object, user_id: str, size: int) -> bool:
        """Whether there is room for so much more, which the holder has then until it leaves."""
        with self._lock:
            if size > min(self._left, self._share - self._of_users[user_id]):
                return False
            self._left -= size
            self._of_users[user_id] += size
            self._taken[holder] = (user_id, self._taken.get(holder, ("", 0))[1] + size)
            return True

    def leave(self, holder: object) -> None:
        """Gives back what the holder has."""
        with self._lock:
            user_id, size = self._taken.pop(holder, ("", 0))
            self._left += size
            self._of_users[user_id] -= size
            if not self._of_users[user_id]:
                del self._of_users[user_id]
