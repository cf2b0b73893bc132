"""How large a body may be; checked for bodies that are large or do not come at once."""

import threading
from collections import Counter
from typing import NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException

from webapp.door.bridge import DoorRequest
from webapp.http.auth import bearer_of
from webapp.http.context import Web, of
from webapp.identity.caller import AskElsewhere, InvalidToken

BATCH = "batch.post_batch"
LARGE_BODIES_BYTES = 64 * 1024 * 1024
"""The memory for all large bodies of a process together, unless a single one may be larger."""
SHARES = 4
"""One user may have one part in so many of it, or one batch."""


class Allowance(NamedTuple):
    """The user, and how large the body may be in bytes; 0 where the request is refused anyway."""

    user_id: str
    most_bytes: int


UNKNOWN = ""
REFUSED = Allowance("", 0)


def allowance_of(app: Flask, request: DoorRequest) -> Allowance:
    """How large a body the sender of this request may send. Never raises for a bad request."""
    web = of(app)
    try:
        user_id = _sender(web, bearer_of(request.headers.get("authorization", "")))
        endpoint, _ = app.url_map.bind("").match(request.scope.path, request.scope.method)
    except (InvalidToken, HTTPException):
        return REFUSED
    if endpoint == BATCH:
        return Allowance(user_id, web.settings.batch_body_bytes)
    return Allowance(user_id, int(app.config["MAX_CONTENT_LENGTH"]))


def _sender(web: Web, token: str) -> str:
    """Whose memory a body takes: all whom only the application can know share one part of it.
    Raises `InvalidToken`."""
    try:
        return web.tokens.owner(token)
    except AskElsewhere:
        return UNKNOWN


class BodyBudget:
    """The memory for large bodies, with a limit for each user. Safe for threads."""

    def __init__(self, most: int, share: int) -> None:
        """`most` is the total in bytes, `share` what one user may have of it."""
        self._left = most
        self._share = share
        self._lock = threading.Lock()
        self._taken: dict[object, tuple[str, int]] = {}
        self._of_users: Counter[str] = Counter()

    def acquire(self, holder: object, user_id: str, size: int) -> bool:
        """Reserves so many bytes more for a holder, until its `release`; False where too few are
        left."""
        with self._lock:
            if size > min(self._left, self._share - self._of_users[user_id]):
                return False
            self._left -= size
            self._of_users[user_id] += size
            self._taken[holder] = (user_id, self._taken.get(holder, ("", 0))[1] + size)
            return True

    def release(self, holder: object) -> None:
        """Frees what a holder has reserved, if anything."""
        with self._lock:
            user_id, size = self._taken.pop(holder, ("", 0))
            self._left += size
            self._of_users[user_id] -= size
            if not self._of_users[user_id]:
                del self._of_users[user_id]
