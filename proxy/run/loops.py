"""The rooms' background work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from proxy import logs, tasks
from proxy.metrics import Metrics
from proxy.run.stop import Stop

LONGEST_PAUSE_SECONDS: Final = 60.0

log = logs.get("run")


class Loops:
    """The rooms' background work: guarded, restarted, given up when it dies again and again.

    A loop that is not vital is never given up, and its death takes nobody out of service.
    """

    def __init__(self, metrics: Metrics, stop: Stop) -> None:
        self._metrics = metrics
        self._stop = stop
        self._down: dict[str, tuple[str, bool, str]] = {}

    def down(self) -> list[tuple[str, bool, str]]:
        """Return the loops that are down at the moment, as readiness tells it."""
        return list(self._down.values())

    def are_up(self) -> bool:
        """Tell whether every vital loop runs."""
        return all(ready for _, ready, _ in self._down.values())

    @asynccontextmanager
    async def running(
        self, name: str, body: Callable[[], Coroutine[Any, Any, None]], *, vital: bool = True
    ) -> AsyncIterator[None]:
        """Run `body` for ever, until the block is left."""

        async def again() -> None:
            self._down.pop(name, None)
            await body()

        def died(error: BaseException | None, pause: float) -> None:
            why = "returned" if error is None else type(error).__name__
            self._down[name] = (f"loop {name}", not vital, f"died: {why}")
            self._metrics.loop_deaths.labels(name).inc()
            log.error("loop died", loop=name, restart_in_seconds=pause, exc_info=error)
            if vital and pause >= LONGEST_PAUSE_SECONDS:
                self._stop.give_up(name)

        guard = tasks.keep_alive(again, died, longest_pause=LONGEST_PAUSE_SECONDS)
        task = tasks.start(name, guard)
        try:
            yield
        finally:
            await tasks.stop(task)
