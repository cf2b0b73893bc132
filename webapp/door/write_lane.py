"""The write lane: a usual post is acknowledged without the framework, and no thread waits for it.

What is unusual in a request, or in what came of it, the application answers in full, so that the
lane knows nothing but the one way in which nearly all posts go.
"""

import os
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from flask import Flask

from models.caveats import Acknowledgement
from models.message import InvalidMessage
from storage.messages.posts import Draft
from storage.messages.storage_service import Submitted
from webapp.api.messages import UNSETTLED, meaning_of
from webapp.door.bridge import CLOSE, DoorRequest
from webapp.http.auth import InvalidToken, bearer_of
from webapp.http.context import Web, of
from webapp.http.drafts import checked_draft
from webapp.http.requests import REQUEST_ID, joined, measure
from webapp.http.schemas import PostMessage
from webapp.limits.limits import TAKEN, TakenToken

log = structlog.get_logger(__name__)

LARGEST_BYTES = 64 * 1024
"""A larger body takes the process's time away from the others' posts."""
ROUTE = "/api/threads/<thread_id>/messages"
HEADERS = [
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    # A new message has the version 1.
    ("ETag", '"1"'),
]

_PATH = re.compile(r"/api/threads/([^/]+)/messages")
_UNUSUAL = frozenset(
    {
        "content-encoding",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "transfer-encoding",
    }
)
"""Headers with which the application answers otherwise."""

Fallback = Callable[[DoorRequest, bytes, dict[str, Any]], None]


class _Usual(msgspec.Struct):
    """A usual post, from its headers and body."""

    user_id: str
    thread_id: str
    draft: Draft
    request_id: str
    taken: TakenToken | None


class WriteLane:
    """Answers posts of messages to threads while Redis takes them."""

    def __init__(self, app: Flask, fallback: Fallback) -> None:
        """`fallback` has the application answer a request in another thread, with some more in its
        environment."""
        self._web: Web = of(app)
        self._fallback = fallback
        self._decoder = msgspec.json.Decoder(PostMessage)
        tiers = self._web.services.tiers
        self._redis = tiers.breakers.redis
        self._is_traced = tiers.tracing.is_on
        self._limit = self._web.limits.write

    def take(self, request: DoorRequest, body: bytes) -> bool:
        """Whether this is a usual post, which another thread answers then."""
        started = time.perf_counter()
        found = _PATH.fullmatch(request.scope.path)
        if found is None or request.scope.method != "POST" or not self._is_calm:
            return False
        try:
            usual = self._usual(request, body, found[1])
        except (InvalidToken, InvalidMessage, ValueError, RecursionError):
            # The application says what is wrong.
            return False
        if usual is None:
            return False

        def done(outcome: Submitted) -> None:
            try:
                if isinstance(outcome, Acknowledgement):
                    self._answer(request, usual, outcome, started)
                else:
                    self._fallback(request, body, {UNSETTLED: outcome, TAKEN: usual.taken})
            # Whatever it is, the client waits for an answer.
            except Exception as error:
                log.error("unexpected", exc_info=error, request_id=usual.request_id)
                request.respond(500, [CLOSE], b"")

        self._web.services.messages.submit(usual.user_id, usual.thread_id, usual.draft, done)
        return True

    @property
    def _is_calm(self) -> bool:
        return self._redis.is_closed and not self._is_traced

    def _usual(self, request: DoorRequest, body: bytes, thread_id: str) -> _Usual | None:
        """The post, unless something of it is unusual. Raises what is wrong with it."""
        pairs = request.headers.items()
        headers = dict(pairs)
        is_plain = len(headers) == len(pairs) == len(request.headers.keys())
        if not is_plain or not _UNUSUAL.isdisjoint(headers) or request.scope.query_string:
            return None
        if len(body) > LARGEST_BYTES:
            return None
        caller = self._web.tokens.verify(bearer_of(headers.get("authorization", "")))
        given = self._decoder.decode(body)
        if given.durability != "fsynced":
            return None
        key = headers.get("idempotency-key")
        draft = checked_draft(thread_id, given.role, given.message, given.metadata, key)
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = os.urandom(8).hex()
        taken = None
        if self._limit is not None:
            taken = TakenToken(self._limit, self._limit.take(caller.user_id))
            if taken.left < 0:
                return None
        return _Usual(caller.user_id, thread_id, draft, request_id, taken)

    def _answer(
        self, request: DoorRequest, usual: _Usual, done: Acknowledgement, started: float
    ) -> None:
        web = self._web
        if done.wake_slot is not None:
            web.wake(done.wake_slot, usual.request_id)
        seconds = time.perf_counter() - started
        web.services.performance.answered.note(seconds)
        content = joined(done.record, meaning_of(done, round(seconds * 1000, 3)))
        headers = [*HEADERS, ("X-Request-ID", usual.request_id)]
        if usual.taken is not None:
            headers += usual.taken.headers
        request.respond(200, headers, content)
        about = {
            "request_id": usual.request_id,
            "method": "POST",
            "route": ROUTE,
            "user_id": usual.user_id,
        }
        measure(web.services.tiers.instruments, ROUTE, "POST", 200, seconds, about)
