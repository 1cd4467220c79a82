"""Traces and metrics for a collector: made where they are switched on, sent to the last."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from proxy import __version__, logs, tasks
from proxy.errors import SettingsError
from proxy.settings.otel import SERVICE_NAME, OtelError, context_of, headers_of, pairs_of
from proxy.telemetry.calls import Calls
from proxy.telemetry.collector import Collector, Terms
from proxy.telemetry.exporting import Readings, Spans
from proxy.telemetry.spans import Tracer

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.run.loops import Loops
    from proxy.run.stop import Stop
    from proxy.settings.otel import Otel
    from proxy.settings.schema import Settings
    from proxy.telemetry.collector import Signal

log = logs.get("run")

Status = Callable[[], dict[str, Any]]


class Telemetry(NamedTuple):
    """What others take part in it with: hooks for calls, what traces requests, what to show."""

    hooks: tuple[aiohttp.TraceConfig, ...] = ()
    tracer: Tracer | None = None
    parts: Mapping[str, Status] = {}


OFF: Final = Telemetry()


async def open_telemetry(
    settings: Settings,
    metrics: Metrics,
    loops: Loops,
    stop: Stop,
    opened: AsyncExitStack,
    *,
    port: int,
) -> Telemetry:
    """Start to send what is switched on, until the stack is closed; `port` is the clients'."""
    if not settings.otel.enabled:
        return OFF
    try:
        session = await opened.enter_async_context(_session(settings.otel))
        made = _Made(settings, metrics, session)
    except OtelError as error:
        # It was good when the settings were read.
        raise SettingsError([f"configuration.otel.{error.field}: {error}"]) from None
    opened.push_async_callback(made.end, stop, settings.drain_deadline_millis / 1000)
    for name, body in made.loops():
        await opened.enter_async_context(loops.running(name, body, vital=False))
    if made.tracer is None:
        return Telemetry(parts={"otel": made.status})
    made.tracer.port = port
    return Telemetry(made.hooks(), made.tracer, {"otel": made.status})


@asynccontextmanager
async def _session(otel: Otel) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=context_of(otel))
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


class _Made:
    """What sends, and what it is filled by."""

    def __init__(
        self, settings: Settings, metrics: Metrics, session: aiohttp.ClientSession
    ) -> None:
        # What the extra brings is loaded here, and by nobody who has not switched it on.
        from proxy.telemetry.encoding import Encoder, refused_spans  # noqa: PLC0415

        self._otel = settings.otel
        self._metrics = metrics
        self._session = session
        self._count_refused = refused_spans
        self._encoder = Encoder(described(settings.otel), tasks.wall_clock())
        self._spans = self._open_spans() if settings.otel.traces.enabled else None
        self._readings = self._open_readings() if settings.otel.metrics.enabled else None
        self.tracer = None if self._spans is None else self._open_tracer(self._spans)
        if self.tracer is not None and settings.tls.is_on:
            self.tracer.scheme = "https"

    def hooks(self) -> tuple[aiohttp.TraceConfig, ...]:
        """Return what follows the calls to Amplitude."""
        return () if self.tracer is None else (Calls(self.tracer).config(),)

    def loops(self) -> list[tuple[str, Callable[[], Any]]]:
        """Return the loops that send, by name."""
        parts = {"traces": self._spans, "metrics": self._readings}
        return [(f"sending {what}", part.run) for what, part in parts.items() if part is not None]

    def status(self) -> dict[str, Any]:
        """Return how each signal does."""
        parts = {"traces": self._spans, "metrics": self._readings}
        return {what: part.status() for what, part in parts.items() if part is not None}

    async def end(self, stop: Stop, seconds: float) -> None:
        """Send what is left, in what is left of `seconds`, or until it has to hurry."""
        left = max(stop.seconds_left(seconds), 0.0)
        if left and not stop.hurry.is_set():
            flushing = tasks.start("last of telemetry", self._flush())
            hurrying = tasks.start("hurry", _set(stop.hurry))
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait((flushing, hurrying), timeout=left, return_when=first)
            await tasks.stop(flushing, hurrying)
        if self._spans is not None:
            self._spans.give_up()

    async def _flush(self) -> None:
        last = [] if self._spans is None else [self._spans.flush()]
        if self._readings is not None:
            last.append(self._readings.send())
        for problem in await asyncio.gather(*last, return_exceptions=True):
            if isinstance(problem, Exception):
                log.error("the last of telemetry was not sent", exc_info=problem)

    def _open_spans(self) -> Spans:
        collector = self._collector("traces", self._otel.traces.endpoint)
        seconds = self._otel.traces.interval_millis / 1000
        return Spans(self._encoder, collector, self._metrics, self._count_refused, seconds)

    def _open_readings(self) -> Readings:
        collector = self._collector("metrics", self._otel.metrics.endpoint)
        seconds = self._otel.metrics.interval_millis / 1000
        registry = self._metrics.registry
        return Readings(registry, self._encoder, collector, seconds, tasks.wall_clock)

    def _open_tracer(self, spans: Spans) -> Tracer:
        traces = self._otel.traces
        return Tracer(
            float(traces.sample_ratio),
            spans.record,
            tasks.wall_clock,
            random.random,
            parent_based=traces.parent_based,
        )

    def _collector(self, signal: Signal, url: str | None) -> Collector:
        otel = self._otel
        terms = Terms(headers_of(otel), otel.timeout_millis / 1000, otel.compression == "gzip")
        whole = url or f"{otel.endpoint.rstrip('/')}/v1/{signal}"
        return Collector(signal, whole, terms, self._session, self._metrics)


def described(otel: Otel) -> dict[str, str]:
    """Return what is said of this process with all that is sent; what is configured wins."""
    return {
        SERVICE_NAME: otel.service_name,
        "service.version": __version__,
        # Without it the counters of several instances would be taken for one that jumps.
        "service.instance.id": str(uuid.uuid4()),
        **pairs_of(otel),
    }


async def _set(event: asyncio.Event) -> None:
    await event.wait()
