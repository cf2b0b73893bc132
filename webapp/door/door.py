"""The door of a web process: what the HTTP server calls with each request, in a thread that it
wants back at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import structlog
from flask import Flask
from granian._granian import RSGIHTTPProtocol
from granian.rsgi import Scope

from webapp.door.admission import LARGEST_TOGETHER, SHARES, Allowed, Room, allowed
from webapp.door.arrival import Arrival
from webapp.door.bridge import CLOSE, DoorRequest, Missing, answer
from webapp.door.clock import RunningClock
from webapp.door.line import TurnQueue
from webapp.door.visitors import Visitors
from webapp.http.context import of

log = structlog.get_logger(__name__)

LATE_THREADS = 4
VISITORS_TICKS = 10
HEALTH = "/healthz"
JSON = ("Content-Type", "application/json")


class Watcher(Protocol):
    """What the HTTP server has of a request."""

    scope: Scope
    proto: RSGIHTTPProtocol


class Door:
    """Gathers bodies without a thread for each, and has whole requests answered in their turn."""

    def __init__(self, app: Flask, turns: int, visitors: Visitors) -> None:
        """`turns` is how many requests may be answered at once."""
        self._app = app
        self._visitors = visitors
        self._looks = 0
        self._line = TurnQueue(turns)
        self._clock = RunningClock(self._look)
        # Those that are late are refused without a tier being asked. The clock has no time for it.
        self._late = ThreadPoolExecutor(LATE_THREADS, "door-late")
        one = of(app).settings.batch_body_bytes
        most = max(LARGEST_TOGETHER, one)
        self.room = Room(most, max(most // SHARES, one))
        self.under_way: set[Arrival] = set()

    def begin(self) -> None:
        """Starts the clock."""
        self._clock.begin()

    def __call__(self, watcher: Watcher) -> None:
        """Sees to a request. Never raises: the server would not say so to anybody."""
        request = DoorRequest(watcher.scope, watcher.proto, self._visitors.served)
        del watcher
        try:
            self._see_to(request)
        except Exception as error:
            log.error("unexpected", exc_info=error)
            request.respond(500, [CLOSE], b"")

    @property
    def now(self) -> float:
        """Seconds, of a process that runs."""
        return self._clock.now

    def allowed(self, request: DoorRequest) -> Allowed:
        """What a request may bring."""
        return allowed(self._app, request)

    def answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        """Has a request answered in this thread or a later one, and calls `after` then."""
        self._line.run(partial(self._answer, request, body, after))

    def _answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        try:
            answer(self._app, request, body)
        finally:
            after()

    def _see_to(self, request: DoorRequest) -> None:
        headers = request.headers
        length = headers.get("content-length")
        if length not in {None, "0"} or "transfer-encoding" in headers:
            Arrival(self, request).begin()
        elif self._line.is_full and request.scope.path == HEALTH:
            self._say_how_it_is(request)
        else:
            self._line.run(partial(answer, self._app, request, b""))

    def _say_how_it_is(self, request: DoorRequest) -> None:
        """Says that the process answers, for whom no turn is left, unless no turn ever ends."""
        if self._line.is_stuck:
            request.respond(503, [JSON], b'{"status":"stuck"}')
        else:
            request.respond(200, [JSON], b'{"status":"ok"}')

    def _look(self) -> None:
        self._looks += 1
        if self._looks % VISITORS_TICKS == 0:
            self._visitors.dismiss()
        for arrival in list(self.under_way):
            body = arrival.late()
            if body is not None and arrival.claim():
                self._late.submit(self._answer, arrival.request, body, arrival.leave)


class Direct:
    """Takes the place of the server's event loop: what has come is gone on with by the thread that
    heard of it, without a way through another one."""

    def call_soon_threadsafe(self, call: Callable[..., Any], *given: Any, context: Any) -> None:
        """Calls."""
        call(*given)

    call_soon = call_soon_threadsafe
