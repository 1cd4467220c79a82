"""An OpenTelemetry collector as tests need it: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

TRACES, METRICS = "/v1/traces", "/v1/metrics"


class FakeCollector:
    """What it is sent, decoded; `status` is what it answers, once `open` is set."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.refused_spans = 0
        self.open = asyncio.Event()
        self.open.set()
        self.heads: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self.asked = 0
        self.trace_requests: list[ExportTraceServiceRequest] = []
        self.metric_requests: list[ExportMetricsServiceRequest] = []
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, port: int) -> None:
        self._runner = web.ServerRunner(web.Server(self._take), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def close(self) -> None:
        self.open.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.trace_requests
            for of_resource in request.resource_spans
            for scope in of_resource.scope_spans
            for span in scope.spans
        ]

    async def wait_for(self, look: Any) -> Any:
        """Wait until `look()` is truthy; return it."""
        async with asyncio.timeout(30):
            while not (found := look()):
                await asyncio.sleep(0.005)
        return found

    async def wait_for_span(self, name: str) -> Any:
        await self.wait_for(lambda: [span for span in self.spans if span.name == name])
        return next(span for span in self.spans if span.name == name)

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked += 1
        await self.open.wait()
        if self.status == 200:
            self._keep(request, body)
        answer = ExportTraceServiceResponse()
        if self.refused_spans:
            answer.partial_success.rejected_spans = self.refused_spans
        return web.Response(
            status=self.status, body=answer.SerializeToString(), headers=self.headers
        )

    def _keep(self, request: web.BaseRequest, body: bytes) -> None:
        self.heads.append({name.lower(): text for name, text in request.headers.items()})
        self.raw.append(body)
        if request.path == TRACES:
            self.trace_requests.append(ExportTraceServiceRequest.FromString(body))
        elif request.path == METRICS:
            self.metric_requests.append(ExportMetricsServiceRequest.FromString(body))


def said(attributes: Any) -> dict[str, Any]:
    """Return attributes as a plain mapping."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
