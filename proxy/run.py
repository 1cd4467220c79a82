"""What is made of what, in which order it opens and closes, and how a stop goes."""

from __future__ import annotations

import asyncio
import platform
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy import __version__, logs, tasks
from proxy.admin.pages import Pages
from proxy.admin.server import OperatorsServer
from proxy.api.assembly import build_router, build_server
from proxy.api.sockets import bind
from proxy.events.destinations import destinations
from proxy.events.tracker import Tracker
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from proxy.sync.syncer import Syncer
from proxy.upstream.client import UpstreamClient, open_session

if TYPE_CHECKING:
    import socket

    from proxy.settings.schema import Settings

STOPPED: Final = 0
LOOP_DIED: Final = 1
CANNOT_START: Final = 3
LONGEST_PAUSE: Final = 60.0
SHARE_OF_REQUESTS: Final = 0.6
HURRIED_FLUSH_SECONDS: Final = 1.0

log = logs.get("run")


class Ports(msgspec.Struct, frozen=True):
    """The ports that are listened on."""

    clients: int
    operators: int


class Stop:
    """Whether to stop, whether to hurry, and with which exit code."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.exit_code = STOPPED

    def ask(self, reason: str) -> None:
        """Take a signal: the first asks to stop, the second to hurry."""
        if self.asked.is_set():
            log.warning("hurrying to stop", reason=reason)
            self.hurry.set()
        else:
            log.info("stopping", reason=reason)
            self.asked.set()

    def give_up(self, loop: str) -> None:
        """Stop because a loop cannot be kept alive."""
        log.error("stopping because a loop cannot be kept alive", loop=loop)
        self.exit_code = LOOP_DIED
        self.asked.set()


class Loops:
    """The rooms' background work: guarded, restarted, and given up when it dies again and again."""

    def __init__(self, metrics: Metrics, stop: Stop) -> None:
        self._metrics = metrics
        self._stop = stop
        self._running: list[asyncio.Task[None]] = []
        self._down: dict[str, str] = {}

    def start(self, name: str, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `body` for ever under its name."""

        async def again() -> None:
            self._down.pop(name, None)
            await body()

        def died(error: BaseException | None, pause: float) -> None:
            self._down[name] = "returned" if error is None else type(error).__name__
            self._metrics.loop_deaths.labels(name).inc()
            log.error("loop died", loop=name, restart_in_seconds=pause, exc_info=error)
            if pause >= LONGEST_PAUSE:
                self._stop.give_up(name)

        work = tasks.keep_alive(again, died, longest_pause=LONGEST_PAUSE)
        self._running.append(tasks.start(name, work))

    def down(self) -> list[tuple[str, bool, str]]:
        """Return the loops that are down at the moment, as readiness tells it."""
        return [(f"loop {name}", False, f"died: {why}") for name, why in self._down.items()]

    async def end(self) -> None:
        """Cancel all and wait for their end."""
        await tasks.stop(*self._running)


def main(settings: Settings, *, ready: Callable[[Ports], None] | None = None) -> int:
    """Serve until a signal; return the exit code: 0 stopped, 1 a loop died, 3 could not start."""
    import uvloop  # noqa: PLC0415  only the program needs it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, ready=ready))


async def serve(settings: Settings, *, ready: Callable[[Ports], None] | None = None) -> int:
    """Serve until a signal; `ready` hears the ports as soon as they are listened on."""
    try:
        bound = _bind(settings)
    except OSError as error:
        log.error("cannot listen", reason=error.strerror, where=error.filename)  # noqa: TRY400
        return CANNOT_START
    clients, operators = bound
    stop, metrics, board = Stop(), Metrics(), Board()
    metrics.build_info.labels(__version__, platform.python_version()).set(1)
    loops = Loops(metrics, stop)
    with _signals(stop):
        async with open_session() as session:
            client = UpstreamClient(session, settings.urls)
            syncer = Syncer(settings, client, board, metrics)
            tracker = Tracker(
                destinations(settings, client), settings.assignment, metrics
            )
            async with _working(loops, syncer, tracker, settings, stop):
                state = State(settings, syncer, tracker, loops, stop)
    return stop.exit_code
