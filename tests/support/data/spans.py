"""What a collector of traces was sent, as spans."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.stack.receiver import Receiver


class Spans:
    """What a collector was sent so far."""

    def __init__(self, collector: Receiver) -> None:
        self._collector = collector
        self._read: list[Any] = []
        self._posts_read = 0

    @property
    def sent(self) -> bytes:
        """All of it as it was on the wire, where text stands as it is."""
        return b"\0".join(post.body for post in self._collector.posts)

    def all(self) -> Sequence[Any]:
        """Every span."""
        new = self._collector.posts[self._posts_read :]
        self._posts_read += len(new)
        self._read += [
            span
            for post in new
            for resource in ExportTraceServiceRequest.FromString(post.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return self._read

    def of_request(self, request_id: str) -> Any:
        """The span of one request. Fails where it is not there yet."""
        found = [one for one in self.all() if facts(one).get("threadkeep.request_id") == request_id]
        assert len(found) == 1, f"{len(found)} spans of {request_id}"
        return found[0]

    def in_trace(self, trace_id: bytes) -> dict[str, Any]:
        """The spans of one trace by their names, the last of each."""
        return {one.name: one for one in self.all() if one.trace_id == trace_id}

    def under(self, span: Any) -> list[Any]:
        """The spans whose parent it is."""
        return [one for one in self.all() if one.parent_span_id == span.span_id]


def facts(span: Any) -> dict[str, str | int]:
    """The attributes of a span."""
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
