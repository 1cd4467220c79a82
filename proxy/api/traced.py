"""The clients' port while requests are traced: what is added to it, and to nothing else."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from proxy.api.carrier import Carrier
from proxy.api.connection import Connection
from proxy.api.routes import OTHER
from proxy.api.tally import Tally
from proxy.telemetry.context import current, during

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import StreamReader, web
    from aiohttp.http_parser import RawRequestMessage

    from proxy.api.messages import Response
    from proxy.api.routes import Exchange
    from proxy.metrics import Metrics
    from proxy.telemetry.spans import Begun, Tracer

UNSAMPLED: Final = object()
"""Stands for the span of a request that is not traced, once that is decided."""


class TracedTally(Tally):
    """Counts an answer, and ends the span of the request that it is for."""

    def __init__(self, metrics: Metrics, tracer: Tracer) -> None:
        super().__init__(metrics)
        self._tracer = tracer

    @override
    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        Tally.answered(self, method, route, status, seconds)
        begun = current.get()
        if begun is not None:
            self.end(begun, method, route, status)

    def end(self, begun: Begun, method: str, route: str, status: int) -> None:
        """End a span now."""
        named = "" if route == OTHER else route
        self._tracer.end(begun, method, named, status, perf_counter() - begun.started)

    @override
    def for_later(self) -> Tally:
        begun = current.get()
        return self if begun is None else LaterTally(self, begun)


class LaterTally(Tally):
    """Counts one answer that comes when its request is forgotten, and ends its span."""

    def __init__(self, tally: TracedTally, begun: Begun) -> None:  # no counters of its own
        self._tally = tally
        self._begun = begun

    @override
    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        Tally.answered(self._tally, method, route, status, seconds)
        self._tally.end(self._begun, method, route, status)


class TracedCarrier(Carrier):
    """Carries requests, and traces those that are sampled."""

    def __init__(self, tracer: Tracer, metrics: Metrics, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._tracer = tracer
        self._hits = metrics.answer_hits
        self._misses = metrics.answer_misses

    @override
    def at_once(
        self, message: RawRequestMessage, payload: StreamReader, connection: Connection
    ) -> bytes | None:
        begun = self._tracer.begin(message.headers)
        if begun is None:
            # Not by super(): most requests come by here, and it costs.
            raw = Carrier.at_once(self, message, payload, connection)
        else:
            with during(begun):
                raw = super().at_once(message, payload, connection)
        if raw is None:
            # Its turn comes with `serve`; what is decided stays decided.
            connection.trace = begun or UNSAMPLED
        return raw

    @override
    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        begun, connection.trace = connection.trace, None
        if begun is None:
            begun = self._tracer.begin(request.headers)
        if begun is None or begun is UNSAMPLED:
            return await super().serve(request)
        with during(begun):
            return await super().serve(request)

    @override
    def _finish(
        self, exchange: Exchange, content: StreamReader, headers: Mapping[str, str]
    ) -> Response:
        begun = current.get()
        if begun is None:
            return super()._finish(exchange, content, headers)
        hits, misses = self._hits.value, self._misses.value
        answer = super()._finish(exchange, content, headers)
        self._describe(begun, exchange, hits, misses)
        return answer

    @override
    def _finish_with(self, exchange: Exchange, body: bytes, headers: Mapping[str, str]) -> Response:
        begun = current.get()
        if begun is None:
            return super()._finish_with(exchange, body, headers)
        hits, misses = self._hits.value, self._misses.value
        answer = super()._finish_with(exchange, body, headers)
        self._describe(begun, exchange, hits, misses)
        return answer

    def _describe(self, begun: Begun, exchange: Exchange, hits: int, misses: int) -> None:
        """Say what is known of a request that was let in, and was just finished."""
        snapshot = exchange.snapshot
        said = begun.attributes
        said["amplitude_proxy.deployment"] = snapshot.deployment.label
        said["amplitude_proxy.source"] = snapshot.source
        said["amplitude_proxy.flags"] = len(snapshot.compiled.flags)
        # Nothing else is answered in between.
        if self._hits.value > hits:
            said["amplitude_proxy.cache_hit"] = True
        elif self._misses.value > misses:
            said["amplitude_proxy.cache_hit"] = False
