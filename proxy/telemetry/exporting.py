"""What is sent when: spans as they gather, metrics at intervals, and the rest of both at a stop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from proxy import tasks

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from proxy.measures.telemetry import Telemetry
    from proxy.tasks import Clock
    from proxy.telemetry.collector import Collector, Receipt
    from proxy.telemetry.encoding import Encoder
    from proxy.telemetry.spans import Span

MOST_WAITING: Final = 8192
"""So many spans wait at most, about 8 MiB; further ones are dropped and counted."""
BATCH: Final = 512
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0


class Spans:
    """Spans that wait for the collector, oldest first; bounded.

    They gather for `seconds`, or until they are many.
    """

    def __init__(
        self,
        encoder: Encoder,
        collector: Collector,
        metrics: Telemetry,
        count_refused: Callable[[bytes], int],
        seconds: float,
    ) -> None:
        self._encoder = encoder
        self._seconds = seconds
        self._collector = collector
        self._counts = metrics.otel_spans
        self._dropped = metrics.otel_spans.labels("dropped")
        self._count_refused = count_refused
        self._waiting: deque[Span] = deque()
        self._many = asyncio.Event()
        self._pause = FIRST_PAUSE_SECONDS
        metrics.otel_spans_pending.set_function(lambda: len(self._waiting))

    def record(self, span: Span) -> None:
        """Let a span wait; one too many is dropped."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped.inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._many.set()

    async def run(self) -> None:
        """Send what waits, for ever."""
        while True:
            await tasks.wait_for_event(self._many, self._seconds)
            self._many.clear()
            while self._waiting:
                receipt = await self._send()
                if receipt.outcome == "again":
                    await asyncio.sleep(max(receipt.pause, self._pause))
                    self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
                else:
                    self._pause = FIRST_PAUSE_SECONDS
                    if len(self._waiting) < BATCH:
                        break

    async def flush(self) -> None:
        """Send all that waits, or give up when the collector does not take it."""
        while self._waiting:
            receipt = await self._send()
            if receipt.outcome == "again":
                return

    def give_up(self) -> None:
        """Count what still waits as lost."""
        self._counts.labels("failed").inc(len(self._waiting))
        self._waiting.clear()

    def status(self) -> dict[str, Any]:
        """Return how many wait, and how the collector does."""
        return {"waiting": len(self._waiting), **self._collector.status()}

    async def _send(self) -> Receipt:
        batch = list(islice(self._waiting, BATCH))
        body = await tasks.in_thread(self._encoder.spans, batch)
        receipt = await self._collector.post(body)
        if receipt.outcome != "again":
            # They stay until now: who is cancelled meanwhile has lost none.
            for _ in batch:
                self._waiting.popleft()
            refused = len(batch)
            if receipt.outcome == "taken":
                refused = min(self._count_refused(receipt.answer), len(batch))
            self._counts.labels("failed").inc(refused)
            self._counts.labels("sent").inc(len(batch) - refused)
        return receipt


class Readings:
    """The metrics of a registry, read and sent at intervals."""

    def __init__(
        self,
        registry: CollectorRegistry,
        encoder: Encoder,
        collector: Collector,
        seconds: float,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._encoder = encoder
        self._collector = collector
        self._seconds = seconds
        self._clock = clock

    async def run(self) -> None:
        """Send them again and again, for ever."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.send()

    async def send(self) -> None:
        """Send them as they are now; what fails is not sent again: the next has it all."""
        # Here and in no thread: the loop alone changes some of them.
        families = list(self._registry.collect())
        body = await tasks.in_thread(self._encoder.metrics, families, self._clock())
        await self._collector.post(body)

    def status(self) -> dict[str, Any]:
        """Return how the collector does."""
        return {"every_seconds": self._seconds, **self._collector.status()}
