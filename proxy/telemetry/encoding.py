"""What is sent, as OTLP's messages. With this, what the extra brings is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from proxy import __version__
from proxy.telemetry.attributes import allowed
from proxy.telemetry.pairs import pair
from proxy.telemetry.readings import Readings

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from proxy.telemetry.spans import Span

SCOPE: Final = common_pb2.InstrumentationScope(name="evaluation-proxy", version=__version__)
HAS_IS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
IS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
SAMPLED: Final = 1


class Encoder:
    """Encodes what one process sends; `described` is said of it with each message."""

    def __init__(self, described: Mapping[str, str], started_at: float) -> None:
        pairs = [pair(name, text) for name, text in described.items()]
        self._resource = resource_pb2.Resource(attributes=pairs)
        self._started_at = started_at

    def spans(self, spans: Iterable[Span]) -> bytes:
        """Return the request that carries spans."""
        scope = trace_pb2.ScopeSpans(scope=SCOPE, spans=map(_span, spans))
        of_us = trace_pb2.ResourceSpans(resource=self._resource, scope_spans=[scope])
        request = trace_service_pb2.ExportTraceServiceRequest(resource_spans=[of_us])
        raw: bytes = request.SerializeToString()
        return raw

    def metrics(self, families: Iterable[Metric], now: float) -> bytes:
        """Return the request that carries what a registry collected at `now`."""
        found = [
            message
            for family in families
            for message in Readings(family, self._started_at, now).messages()
        ]
        scope = metrics_pb2.ScopeMetrics(scope=SCOPE, metrics=found)
        of_us = metrics_pb2.ResourceMetrics(resource=self._resource, scope_metrics=[scope])
        request = metrics_service_pb2.ExportMetricsServiceRequest(resource_metrics=[of_us])
        raw: bytes = request.SerializeToString()
        return raw


def refused_spans(answer: bytes) -> int:
    """Return how many spans of a request the collector says that it did not take."""
    try:
        response = trace_service_pb2.ExportTraceServiceResponse.FromString(answer)
        refused: int = response.partial_success.rejected_spans
    except Exception:  # noqa: BLE001  what a server says beside its 200 is its own affair
        return 0
    return max(refused, 0)


def _span(span: Span) -> trace_pb2.Span:
    failed, unset = trace_pb2.Status.STATUS_CODE_ERROR, trace_pb2.Status.STATUS_CODE_UNSET
    is_remote = IS_REMOTE if span.has_remote_parent else 0
    return trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        trace_state=span.state,
        flags=SAMPLED | HAS_IS_REMOTE | is_remote,
        name=span.name,
        kind=trace_pb2.Span.SPAN_KIND_CLIENT if span.is_call else trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=span.begins,
        end_time_unix_nano=span.ends,
        attributes=[pair(name, value) for name, value in allowed(span.attributes)],
        status=trace_pb2.Status(code=failed if span.has_failed else unset),
    )
