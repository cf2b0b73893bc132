"""Slow statements of any tier: counted, and logged by their shape, never with a value."""

import re
import time
from collections import Counter, deque
from typing import Any

import msgspec
import structlog
from sqlalchemy import Engine, event

log = structlog.get_logger(__name__)

KEPT_STATEMENTS = 20
SHAPE_CHARACTERS = 300
_VALUE = re.compile(r"'(?:[^'\\]|''|\\.)*'|\b\d+(?:\.\d+)?\b")


class SlowQuery(msgspec.Struct, kw_only=True, frozen=True):
    """A statement that took long. `at` is seconds since 1970."""

    tier: str
    shape: str
    ms: float
    at: float


class SlowQueries:
    """Those of one process: how many of each tier, and the last few of them."""

    def __init__(self, threshold_seconds: float) -> None:
        self.threshold_seconds = threshold_seconds
        self.counts: Counter[str] = Counter()
        self.latest: deque[SlowQuery] = deque(maxlen=KEPT_STATEMENTS)

    def note(self, tier: str, statement: str, seconds: float) -> None:
        """Logs a statement if it was slow. What it costs otherwise is one comparison."""
        if seconds >= self.threshold_seconds:
            self.log_slow_query(tier, statement, seconds)

    def log_slow_query(self, tier: str, statement: str, seconds: float) -> None:
        """Counts and logs a slow statement. The id of the request, where there is one, comes from
        what is bound to the log."""
        slow = SlowQuery(
            tier=tier, shape=shape_of(statement), ms=round(seconds * 1000, 1), at=time.time()
        )
        self.counts[tier] += 1
        self.latest.append(slow)
        log.warning("slow_query", tier=tier, shape=slow.shape, ms=slow.ms)

    def watch(self, engine: Engine, tier: str) -> None:
        """Has every statement of an engine timed, whichever way it ends."""

        def begin(_: Any, __: Any, ___: str, ____: Any, context: Any, _____: bool) -> None:
            context.threadkeep_started = time.perf_counter()

        def end(statement: str, context: Any) -> None:
            started = getattr(context, "threadkeep_started", None)
            if started is not None:
                self.note(tier, statement, time.perf_counter() - started)

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", lambda *told: end(told[2], told[4]))
        event.listen(
            engine,
            "handle_error",
            lambda failed: end(failed.statement or "", failed.execution_context),
        )


def shape_of(statement: str) -> str:
    """A statement in one line, with a question mark in the place of each value."""
    return _VALUE.sub("?", " ".join(statement.split()))[:SHAPE_CHARACTERS]
