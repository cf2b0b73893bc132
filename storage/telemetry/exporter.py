"""How spans leave the process: by OTLP over HTTP, from a thread of their own, in batches."""

import atexit
import time
from collections.abc import Sequence
from typing import cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

EXPORT_SECONDS = 2.0
"""How long one batch may take, second attempts included."""
LAST_SECONDS = 0.5
"""How long a process that ends goes on sending: too short for a second attempt."""


class CollectorExporter:
    """Sends batches of spans to a collector, until a process that ends has waited long enough."""

    def __init__(self, endpoint: str) -> None:
        self._address = f"{endpoint.rstrip('/')}/v1/traces"
        self._way = self._to_collector(EXPORT_SECONDS)
        self._until = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends a batch. What cannot be sent is dropped."""
        if time.monotonic() > self._until:
            return SpanExportResult.FAILURE
        return self._way.export(spans)

    def end_soon(self) -> None:
        """The process ends: nobody waits for a second attempt, and what is left is tried once."""
        waiting, self._until = self._way, time.monotonic() + LAST_SECONDS
        self._way = self._to_collector(LAST_SECONDS)
        waiting.shutdown()

    def shutdown(self) -> None:
        """Nothing comes any more."""
        self._way.shutdown()

    def _to_collector(self, seconds: float) -> SpanExporter:
        return OTLPSpanExporter(endpoint=self._address, timeout=seconds)


def provider_to(endpoint: str) -> TracerProvider:
    """What makes spans and sends them there; what is left is sent when the process ends."""
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts more.
    named = Resource.create({"service.name": "threadkeep"})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    exporter = CollectorExporter(endpoint)
    provider.add_span_processor(BatchSpanProcessor(cast(SpanExporter, exporter)))
    # Runs before the provider's own end, which was registered before it.
    atexit.register(exporter.end_soon)
    return provider
