"""What the lanes share: who sends a request, whether it is a usual one, and its answer."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Flask

from webapp.door.bridge import DoorRequest
from webapp.http.auth import bearer_of
from webapp.http.context import Web, of
from webapp.http.requests import REQUEST_ID, measure
from webapp.limits.buckets import Buckets

HEADERS = [
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
]

_UNUSUAL = frozenset(
    {
        "content-encoding",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "threadkeep-user",
        "transfer-encoding",
    }
)
"""Headers with which the application answers otherwise."""

Fallback = Callable[[DoorRequest, bytes, dict[str, Any]], None]
Headers = list[tuple[str, str]]


class Usual(msgspec.Struct):
    """A request without anything unusual in its headers, which are here too. `left` is what it
    left of its sender's limit, if there is one."""

    request: DoorRequest
    user_id: str
    request_id: str
    headers: Mapping[str, str]
    left: int = 0


class Lane:
    """Answers usual requests without the framework, while Redis is well and traces are off.

    It knows no error: whatever is unusual in a request, or in what came of it, the application
    answers in full.
    """

    def __init__(self, app: Flask, fallback: Fallback, limit: Buckets | None) -> None:
        """`fallback` has the application answer a request in another thread, with some more in its
        environment. `limit` is that of its senders."""
        self.web: Web = of(app)
        self._limit = limit
        self.fallback = fallback
        tiers = self.web.services.tiers
        self._redis = tiers.breakers.redis
        self._is_traced = tiers.tracing.is_on

    @property
    def is_calm(self) -> bool:
        """Whether there may be usual requests at all."""
        return self._redis.is_closed and not self._is_traced

    def usual(self, request: DoorRequest, scope: str) -> Usual | None:
        """The request with its sender, unless its headers are unusual. Raises `InvalidToken`, also
        for an API key without the scope, and one that is not known at once."""
        pairs = request.headers.items()
        headers = dict(pairs)
        is_plain = len(headers) == len(pairs) == len(request.headers.keys())
        if not is_plain or not _UNUSUAL.isdisjoint(headers):
            return None
        caller = self.web.tokens.verify(bearer_of(headers.get("authorization", "")), scope)
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = os.urandom(8).hex()
        return Usual(request, caller.user_id, request_id, headers)

    def admit(self, usual: Usual) -> bool:
        """Takes a token for a request; False where there is none, which the application says."""
        if self._limit is not None:
            usual.left = self._limit.take(usual.user_id)
        return usual.left >= 0

    def answer(
        self,
        usual: Usual,
        method: str,
        route: str,
        headers: Headers,
        content: bytes,
        seconds: float,
    ) -> None:
        """Answers a request that took so long. `headers` are all but that of its id."""
        headers = [*headers, ("X-Request-ID", usual.request_id)]
        if self._limit is not None:
            headers += self._limit.headers(usual.left)
        usual.request.respond(200, headers, content)
        about = {
            "request_id": usual.request_id,
            "method": method,
            "route": route,
            "user_id": usual.user_id,
        }
        measure(self.web.services.tiers.instruments, route, method, 200, seconds, about)
