"""Requests as the HTTP server would give them to a lane, and what becomes of them."""

from functools import cache, partial
from queue import SimpleQueue
from typing import Any, cast

from support.faults.outages import ends
from webapp.app import create_app
from webapp.door.bridge import DoorRequest
from webapp.door.read_lane import ReadLane
from webapp.door.turn_queue import TurnQueue
from webapp.door.write_lane import WriteLane
from webapp.http.auth import Tokens
from webapp.http.context import of
from wiring.process import Services

Replied = tuple[int, dict[str, str], bytes]


class _Scope:
    method = "POST"
    path = "/api/threads/t/messages"
    query_string = ""


class LaneRequest:
    """A request, and its answer."""

    def __init__(self, token: str, headers: dict[str, str], scope: dict[str, Any]) -> None:
        self.scope = _Scope()
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self.headers |= headers
        for name, value in scope.items():
            setattr(self.scope, name, value)
        self._came: SimpleQueue[Replied] = SimpleQueue()

    def respond(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self._came.put((status, dict(headers), content))

    def answer(self) -> Replied:
        return self._came.get(timeout=20)


class Lanes:
    """The lanes of a process, and what they gave to the application."""

    def __init__(self, own: Services) -> None:
        app = create_app(own.settings)
        self.services = ends(of(app).services)
        self.given: SimpleQueue[Any] = SimpleQueue()

        def fallback(*given: Any) -> None:
            self.given.put(given)

        self._writes = WriteLane(app, fallback)
        self._reads = ReadLane(app, fallback, TurnQueue("turn", 4))
        self._issue = cache(partial(Tokens(own.settings).issue, is_admin=False, ttl_seconds=60))

    def request(
        self, user: str, headers: dict[str, str] | None = None, **scope: Any
    ) -> LaneRequest:
        """One with the user's only token, which is verified once."""
        return LaneRequest(self._issue(user), headers or {}, scope)

    def read(
        self, user: str, path: str, headers: dict[str, str] | None = None, **scope: Any
    ) -> LaneRequest:
        """A request for a path, with or without a query."""
        path, _, query = path.partition("?")
        given = {"method": "GET", "path": path, "query_string": query} | scope
        return self.request(user, headers, **given)

    def takes(self, request: LaneRequest, body: bytes = b'{"message":"hello"}') -> bool:
        """Whether the write lane takes it."""
        return self._writes.take(cast(DoorRequest, request), body)

    def takes_read(self, request: LaneRequest) -> bool:
        """Whether the read lane takes it."""
        return self._reads.take(cast(DoorRequest, request))
