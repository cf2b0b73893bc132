"""Slow statements of any tier: counted, and logged by their shape, never with a value."""

import re
import time
from collections import Counter
from typing import Any

import structlog
from sqlalchemy import Engine, event

from storage.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

SHAPE_CHARACTERS = 300
_VALUE = re.compile(r"'(?:[^'\\]|''|\\.)*'|\b\d+(?:\.\d+)?\b")


class SlowQueries:
    """Those of one process, as counts by tier. Traces get every statement, slow or not."""

    def __init__(self, threshold_seconds: float, tracing: Tracing | None = None) -> None:
        self._tracing = tracing if tracing is not None and tracing.is_on else None
        self.threshold_seconds = threshold_seconds
        self.counts: Counter[str] = Counter()

    def note(self, tier: str, statement: str, seconds: float, *, failed: bool = False) -> None:
        """Logs a statement if it was slow. What it costs otherwise is two comparisons."""
        if self._tracing is not None:
            self._tracing.statement(tier, statement, seconds, failed=failed)
        if seconds >= self.threshold_seconds:
            self.log_slow_query(tier, statement, seconds)

    def log_slow_query(self, tier: str, statement: str, seconds: float) -> None:
        """Counts and logs a slow statement, with the id of the request that is bound to the log."""
        self.counts[tier] += 1
        log.warning("slow_query", tier=tier, shape=shape_of(statement), ms=round(seconds * 1000, 1))

    def watch(self, engine: Engine, tier: str) -> None:
        """Has every statement of an engine timed, whichever way it ends."""

        def begin(_: Any, __: Any, ___: str, ____: Any, context: Any, _____: bool) -> None:
            context.threadkeep_started = time.perf_counter()

        def end(statement: str, context: Any, *, failed: bool = False) -> None:
            started = getattr(context, "threadkeep_started", None)
            if started is not None:
                self.note(tier, statement, time.perf_counter() - started, failed=failed)

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", lambda *given: end(given[2], given[4]))
        event.listen(
            engine,
            "handle_error",
            lambda error: end(error.statement or "", error.execution_context, failed=True),
        )


def shape_of(statement: str) -> str:
    """A statement in one line, with a question mark in the place of each value."""
    return _VALUE.sub("?", " ".join(statement.split()))[:SHAPE_CHARACTERS]
