"""The spans that a stack sent to a collector, as OTLP has them."""

from collections.abc import Sequence
from typing import Any

import pytest

from support.receiver import Receiver

NEEDED = "traces need the extra: pip install threadkeep[otel]"


class Spans:
    """What a collector was sent so far. Skips the test where the extra is not installed."""

    def __init__(self, collector: Receiver) -> None:
        service = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
        self._shape = pytest.importorskip(service, reason=NEEDED).ExportTraceServiceRequest
        self._collector = collector

    @property
    def sent(self) -> bytes:
        """All of it as it was on the wire, where text stands as it is."""
        return b"\0".join(post.body for post in self._collector.posts)

    def all(self) -> Sequence[Any]:
        """Every span."""
        return [
            span
            for post in list(self._collector.posts)
            for resource in self._shape.FromString(post.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of_request(self, request_id: str) -> Any:
        """The span of one request. Fails where it is not there yet."""
        found = [one for one in self.all() if facts(one).get("threadkeep.request_id") == request_id]
        assert len(found) == 1, f"{len(found)} spans of {request_id}"
        return found[0]

    def in_trace(self, trace_id: bytes) -> dict[str, Any]:
        """The spans of one trace by their names, the last of each."""
        return {one.name: one for one in self.all() if one.trace_id == trace_id}


def facts(span: Any) -> dict[str, str | int]:
    """The attributes of a span."""
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
