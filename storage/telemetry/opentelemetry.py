"""Traces, by OpenTelemetry: names, figures and the shapes of statements.

Paths, ids, parameters and the texts of errors, in which may be what somebody wrote, are in none.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from storage.telemetry.exporter import provider_to
from storage.telemetry.slow_queries import shape_of
from storage.telemetry.tracing import Tracing

Found = TypeVar("Found")

MOST_STATEMENTS = 200
"""Of one request or task. A job that goes on for hours must not gather them without end."""
SHAPED_CHARACTERS = 10_000
"""A longer statement holds rows, and its shape would take longer than it says."""
CARRIED_DRAINS = 8

_VERB = re.compile(r"\s*([A-Za-z]+)")
_W3C = TraceContextTextMapPropagator()


class _Statement(NamedTuple):
    tier: str
    text: str
    began_ns: int
    ended_ns: int
    failed: bool


class _Work(NamedTuple):
    """What is traced in a thread; a poll has no span before it has done something."""

    span: Span | None
    statements: list[_Statement]


_under_way: ContextVar[_Work | None] = ContextVar("threadkeep_traced", default=None)


class OpenTelemetry(Tracing):
    """The traces of one process. Made after a fork: its thread does not survive one."""

    is_on = True

    def __init__(self, endpoint: str) -> None:
        self._tracer = provider_to(endpoint).get_tracer("threadkeep")
        self._drains: deque[SpanContext] = deque(maxlen=CARRIED_DRAINS)

    def begin(self, name: str, traceparent: str) -> None:
        _under_way.set(_Work(self._start(name, SpanKind.SERVER, _contexts([traceparent])), []))

    def end(self, facts: Mapping[str, str | int], *, failed: bool) -> None:
        work = _under_way.get()
        _under_way.set(None)
        if work is not None and work.span is not None:
            work.span.set_attributes(facts)
            self._finish(work.span, work.statements, failed=failed)

    @contextmanager
    def work(self, name: str, sent_for: Sequence[str] = ()) -> Iterator[None]:
        span = self._start(name, SpanKind.CONSUMER, _contexts(sent_for))
        work, failed = _Work(span, []), True
        before = _under_way.set(work)
        try:
            yield
            failed = False
        finally:
            _under_way.reset(before)
            self._finish(span, work.statements, failed=failed)
            self._note_drain(name, span)

    def poll(self, name: str, poll: Callable[[], Found]) -> Found:
        began_ns, work = time.time_ns(), _Work(None, [])
        before = _under_way.set(work)
        try:
            found = poll()
        finally:
            _under_way.reset(before)
        if any(found) if isinstance(found, tuple) else found:
            drained = len(self._drains) if name == "replicate" else 0
            came_by = [self._drains.popleft() for _ in range(drained)]
            span = self._start(f"look {name}", SpanKind.INTERNAL, came_by, began_ns)
            self._finish(span, work.statements, failed=False)
            self._note_drain(name, span)
        return found

    def statement(self, tier: str, statement: str, seconds: float, *, failed: bool) -> None:
        work = _under_way.get()
        if work is not None and len(work.statements) < MOST_STATEMENTS:
            now = time.time_ns()
            began = now - int(seconds * 1e9)
            work.statements.append(_Statement(tier, statement, began, now, failed))

    def traceparent(self) -> str:
        work, carrier = _under_way.get(), dict[str, str]()
        if work is not None and work.span is not None:
            _W3C.inject(carrier, set_span_in_context(work.span, Context()))
        return carrier.get("traceparent", "")

    def _start(
        self, name: str, kind: SpanKind, came_by: Sequence[SpanContext], began_ns: int | None = None
    ) -> Span:
        within = Context()
        if came_by:
            within = set_span_in_context(NonRecordingSpan(came_by[0]), within)
        links = [Link(other) for other in came_by[1:]]
        return self._tracer.start_span(name, within, kind, links=links, start_time=began_ns)

    def _finish(self, span: Span, statements: Sequence[_Statement], *, failed: bool) -> None:
        within = set_span_in_context(span, Context())
        for one in statements if span.is_recording() else ():
            name, facts = _described(one)
            child = self._tracer.start_span(
                name, within, SpanKind.CLIENT, facts, start_time=one.began_ns
            )
            _end(child, failed=one.failed, at_ns=one.ended_ns)
        _end(span, failed=failed)

    def _note_drain(self, name: str, span: Span) -> None:
        """The next shipment carries what a drain committed."""
        if name.startswith("persist") and span.get_span_context().trace_flags.sampled:
            self._drains.append(span.get_span_context())


def _contexts(traceparents: Sequence[str]) -> list[SpanContext]:
    """The spans that are named, as far as they are names."""
    found = [_W3C.extract({"traceparent": one}, Context()) for one in traceparents]
    named = [get_current_span(one).get_span_context() for one in found]
    return [one for one in named if one.is_valid]


def _described(one: _Statement) -> tuple[str, dict[str, str]]:
    """A statement's name and facts: the words of OpenTelemetry's conventions for databases."""
    facts = {"db.system.name": one.tier}
    if one.tier == "redis":
        return f"redis {one.text}", facts
    if len(one.text) <= SHAPED_CHARACTERS:
        facts["db.query.text"] = shape_of(one.text)
    verb = _VERB.match(one.text)
    return f"{one.tier} {verb[1].upper() if verb else 'statement'}", facts


def _end(span: Span, *, failed: bool, at_ns: int | None = None) -> None:
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(at_ns)
