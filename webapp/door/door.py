"""The door of a web process: the HTTP server calls it with each request, in a thread that it needs
back at once."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import structlog
from flask import Flask
from granian._granian import RSGIHTTPProtocol
from granian.rsgi import Scope

from webapp.api.messages import UNSETTLED
from webapp.door.admission import LARGE_BODIES_BYTES, SHARES, Allowance, BodyBudget, allowance_of
from webapp.door.body_reader import BodyReader
from webapp.door.bridge import CLOSE, DoorRequest, Missing, answer
from webapp.door.clock import RunningClock
from webapp.door.read_lane import ReadLane
from webapp.door.silent_connections import SilentConnections
from webapp.door.turn_queue import TurnQueue
from webapp.door.write_lane import WriteLane
from webapp.http.context import of
from webapp.limits.limits import REFUSED

log = structlog.get_logger(__name__)

LATE_THREADS = 4
SILENT_TICKS = 10
HEALTH = "/healthz"
HEAVY = ("/api/search", "/api/analytics", "/api/messages:batch")
"""How the paths begin of what takes a tier long. It has turns of its own, so that many of them keep
nothing light waiting."""
_LARGE_LIST = re.compile("(?:^|&)limit=(?!100(?:&|$))[0-9]{3}")
HEAVY_SHARE = 4
"""One heavy turn for so many light ones."""
TOO_MANY = "too many of your requests are under way"
JSON = ("Content-Type", "application/json")


class ServerRequest(Protocol):
    """A request as the HTTP server passes it."""

    scope: Scope
    proto: RSGIHTTPProtocol


class Door:
    """Reads bodies without a thread for each, and has complete requests answered in turn."""

    def __init__(self, app: Flask, turns: int, connections: SilentConnections) -> None:
        """`turns` is how many requests may be answered at once."""
        self._app = app
        self._connections = connections
        self._origins = of(app).origins
        self._ticks = 0
        most = of(app).settings.limit_waiting
        self._turns = TurnQueue("turn", turns, most)
        heavy = max(1, turns // HEAVY_SHARE)
        self._heavy_turns = TurnQueue("heavy-turn", heavy, -(-most // HEAVY_SHARE))
        self._clock = RunningClock(self._on_tick)
        # These refuse overdue requests, without asking a tier: the clock's thread must not wait.
        self._late = ThreadPoolExecutor(LATE_THREADS, "door-late")
        self._write_lane = WriteLane(app, self._settle)
        self._read_lane = ReadLane(app, self._settle, self._turns)
        one = of(app).settings.batch_body_bytes
        most = max(LARGE_BODIES_BYTES, one)
        self.budget = BodyBudget(most, max(most // SHARES, one))
        self.reading: set[BodyReader] = set()

    def begin(self) -> None:
        """Starts the clock."""
        self._clock.begin()

    def __call__(self, watcher: ServerRequest) -> None:
        """Handles a request. Never raises: the server would not report it."""
        served = self._connections.served
        request = DoorRequest(watcher.scope, watcher.proto, served, self._origins)
        del watcher
        try:
            self._dispatch(request)
        except Exception as error:
            log.error("unexpected", exc_info=error)
            request.respond(500, [CLOSE], b"")

    @property
    def now(self) -> float:
        """Seconds for which this process has run."""
        return self._clock.now

    def allowance(self, request: DoorRequest) -> Allowance:
        """How large a body the sender of a request may send."""
        return allowance_of(self._app, request)

    def answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        """Has a request answered, in this thread or a later one, and calls `after` then."""
        if isinstance(body, bytes) and self._write_lane.take(request, body):
            after()
        else:
            self._run(request, partial(self._answer, request, body, after), after)

    def _run(
        self, request: DoorRequest, call: Callable[[], None], after: Callable[[], None]
    ) -> None:
        """Has a call made in turn, or the request refused if its sender has too many under way."""
        scope = request.scope
        turns = self._heavy_turns if is_heavy(scope.path, scope.query_string) else self._turns
        if not turns.run(call, request.caller):
            after()
            self._late.submit(answer, self._app, request, b"", {REFUSED: TOO_MANY})

    def _settle(self, request: DoorRequest, body: bytes, more: dict[str, Any]) -> None:
        """Has the application go on with what a lane began. A post that may be stored already is
        not refused any more."""
        call = partial(answer, self._app, request, body, more)
        if UNSETTLED in more:
            self._turns.run(call)
        else:
            self._run(request, call, _nothing)

    def _answer(
        self, request: DoorRequest, body: bytes | Missing, after: Callable[[], None]
    ) -> None:
        try:
            answer(self._app, request, body)
        finally:
            after()

    def _dispatch(self, request: DoorRequest) -> None:
        headers = request.headers
        length = headers.get("content-length")
        if length not in {None, "0"} or "transfer-encoding" in headers:
            BodyReader(self, request).begin()
        elif self._turns.is_full and request.scope.path == HEALTH:
            self._answer_health(request)
        elif not self._read_lane.take(request):
            self._run(request, partial(answer, self._app, request, b""), _nothing)

    def _answer_health(self, request: DoorRequest) -> None:
        """Answers `/healthz` while all turns are taken: 503 only if no turn ends any more."""
        if self._turns.is_stuck:
            request.respond(503, [JSON], b'{"status":"stuck"}')
        else:
            request.respond(200, [JSON], b'{"status":"ok"}')

    def _on_tick(self) -> None:
        self._ticks += 1
        if self._ticks % SILENT_TICKS == 0:
            self._connections.close_silent()
        for reader in list(self.reading):
            body = reader.overdue()
            if body is not None and reader.claim():
                self._late.submit(self._answer, reader.request, body, reader.release)


def is_heavy(path: str, query: str) -> bool:
    """Whether a request takes long, or the process's time: also a list of more than 100."""
    return path.startswith(HEAVY) or _LARGE_LIST.search(query) is not None


def _nothing() -> None:
    """Has nothing to release."""


class DirectLoop:
    """Replaces the server's event loop: callbacks run at once, in the thread that calls."""

    def call_soon_threadsafe(self, call: Callable[..., Any], *given: Any, context: Any) -> None:
        """Runs the callback."""
        call(*given)

    call_soon = call_soon_threadsafe
