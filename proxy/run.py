"""What is made of what, in which order it opens and closes, and how a stop goes."""

from __future__ import annotations

import asyncio
import gc
import platform
import resource
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop

from proxy import __version__, logs, tasks
from proxy.admin.pages import Pages
from proxy.admin.server import OperatorsServer
from proxy.api.assembly import build_router, build_server
from proxy.api.sockets import bind
from proxy.events.destinations import destinations
from proxy.events.spool import open_spool
from proxy.events.tracker import Tracker
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from proxy.sync.schedule import timings_of
from proxy.sync.syncer import Syncer
from proxy.upstream.client import UpstreamClient, open_session

if TYPE_CHECKING:
    import socket

    from proxy.settings.schema import Settings

STOPPED: Final = 0
LOOP_DIED: Final = 1
CANNOT_START: Final = 3
MOST_FILES: Final = 1 << 20
LONGEST_PAUSE_SECONDS: Final = 60.0
SHARE_OF_REQUESTS: Final = 0.6
"""The part of the drain deadline that requests may take; the rest is left for events."""

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
        self._asked_at = 0.0

    def seconds_left(self, seconds: float) -> float:
        """Return what is left of the `seconds` that a stop may take."""
        return seconds - (asyncio.get_running_loop().time() - self._asked_at)

    def signalled(self, name: str) -> None:
        """Take a signal: the first asks to stop, a second to hurry."""
        if self.asked.is_set():
            log.warning("hurrying to stop", signal=name)
            self.hurry.set()
        else:
            log.info("stopping", signal=name)
            self._ask()

    def give_up(self, loop: str) -> None:
        """Stop because a loop cannot be kept alive."""
        log.error("stopping because a loop cannot be kept alive", loop=loop)
        self.exit_code = LOOP_DIED
        self._ask()

    def _ask(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        self.asked.set()


class Loops:
    """The rooms' background work: guarded, restarted, given up when it dies again and again."""

    def __init__(self, metrics: Metrics, stop: Stop) -> None:
        self._metrics = metrics
        self._stop = stop
        self._down: dict[str, str] = {}

    def down(self) -> list[tuple[str, bool, str]]:
        """Return the loops that are down at the moment, as readiness tells it."""
        return [(f"loop {name}", False, f"died: {why}") for name, why in self._down.items()]

    @asynccontextmanager
    async def running(
        self, name: str, body: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Run `body` for ever, until the block is left."""

        async def again() -> None:
            self._down.pop(name, None)
            await body()

        def died(error: BaseException | None, pause: float) -> None:
            self._down[name] = "returned" if error is None else type(error).__name__
            self._metrics.loop_deaths.labels(name).inc()
            log.error("loop died", loop=name, restart_in_seconds=pause, exc_info=error)
            if pause >= LONGEST_PAUSE_SECONDS:
                self._stop.give_up(name)

        guard = tasks.keep_alive(again, died, longest_pause=LONGEST_PAUSE_SECONDS)
        task = tasks.start(name, guard)
        try:
            yield
        finally:
            await tasks.stop(task)


class House:
    """Everything that is open while the proxy serves, for probes and the status page."""

    def __init__(
        self, settings: Settings, syncer: Syncer, tracker: Tracker, loops: Loops, stop: Stop
    ) -> None:
        self._settings = settings
        self._syncer = syncer
        self._tracker = tracker
        self._loops = loops
        self._stop = stop
        self._since = tasks.wall_clock()

    def readiness(self) -> list[tuple[str, bool, str]]:
        """Return each part's label, whether it is ready, and why or why not."""
        stopping = self._stop.asked.is_set()
        process = ("process", not stopping, "stopping" if stopping else "serving")
        return [process, *self._loops.down(), *self._syncer.ready()]

    def is_ready(self) -> bool:
        """Tell whether requests should come here."""
        process = not self._stop.asked.is_set() and not self._loops.down()
        return process and self._syncer.is_ready()

    def status(self) -> dict[str, Any]:
        """Return the whole state, without any key."""
        return {
            "version": __version__,
            "python": platform.python_version(),
            "started_at": self._since,
            "uptime_seconds": round(tasks.wall_clock() - self._since, 1),
            "ready": self.is_ready(),
            "stopping": self._stop.asked.is_set(),
            "notices": list(self._settings.notices),
            "loops_down": [name for name, _, _ in self._loops.down()],
            "projects": self._syncer.project_status(),
            "deployments": self._syncer.status(),
            "events": self._tracker.status(),
            "spool": self._tracker.spool_status(),
        }


def main(settings: Settings, *, ready: Callable[[Ports], None] | None = None) -> int:
    """Serve until a signal; return the exit code: 0 stopped, 1 a loop died, 3 could not start."""
    raise_file_limit()
    # The program itself stays as it is: a full collection need not look at it again.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, ready=ready))


def raise_file_limit() -> int:
    """Let this process open as many files as the system allows; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Shells keep the soft limit low for programs that use select(); this one does not.
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


async def serve(settings: Settings, *, ready: Callable[[Ports], None] | None = None) -> int:
    """Serve until a signal; `ready` hears the ports as soon as they are listened on."""
    bound = bind_ports(settings)
    if bound is None:
        return CANNOT_START
    stop, metrics, board = Stop(), Metrics(), Board()
    metrics.build_info.labels(__version__, platform.python_version()).set(1)
    loops = Loops(metrics, stop)
    seconds = settings.drain_deadline_millis / 1000
    # Leaving the blocks drains requests, then flushes events, then ends sync, then closes all.
    async with AsyncExitStack() as opened:
        opened.enter_context(_signals_to(stop))
        client = UpstreamClient(await opened.enter_async_context(open_session()), settings.urls)
        syncer = Syncer(settings.projects, timings_of(settings), client, board, metrics)
        spool = await opened.enter_async_context(open_spool(settings, metrics))
        tracker = Tracker(destinations(settings, client), settings.assignment, metrics, spool)
        house = House(settings, syncer, tracker, loops, stop)
        pages = Pages(
            metrics.registry,
            metrics_path=settings.metrics.path,
            is_ready=house.is_ready,
            readiness=house.readiness,
            status=house.status,
        )
        await opened.enter_async_context(_operators(pages, bound[1]))
        await opened.enter_async_context(loops.running("sync", syncer.run))
        opened.push_async_callback(_flush, tracker, stop, seconds)
        await opened.enter_async_context(loops.running("events", tracker.run))
        router = build_router(
            board, tracker.track, settings, metrics, tasks.wall_clock, is_ready=house.is_ready
        )
        server = build_server(router, settings, metrics, tasks.wall_clock)
        await server.open(bound[0])
        opened.push_async_callback(server.drain, seconds * SHARE_OF_REQUESTS, stop.hurry)
        _tell(bound, ready)
        await stop.asked.wait()
    log.info("stopped", exit_code=stop.exit_code)
    return stop.exit_code


def bind_ports(settings: Settings) -> tuple[list[socket.socket], list[socket.socket]] | None:
    """Return the clients' and the operators' sockets; None, and a line that says why, if not."""
    bound: list[list[socket.socket]] = []
    for what, host, port in (
        ("clients", settings.host, settings.port),
        ("operators", settings.metrics.host, settings.metrics.port),
    ):
        try:
            bound.append(bind(host, port))
        except OSError as error:
            for one in (one for some in bound for one in some):
                one.close()
            reason = error.strerror or str(error)
            log.error("cannot listen", port_for=what, host=host, port=port, reason=reason)  # noqa: TRY400
            return None
    return bound[0], bound[1]


def _tell(
    bound: tuple[list[socket.socket], list[socket.socket]],
    ready: Callable[[Ports], None] | None,
) -> None:
    ports = Ports(*(some[0].getsockname()[1] for some in bound))
    log.info("listening", clients_port=ports.clients, operators_port=ports.operators)
    if ready is not None:
        ready(ports)


@contextmanager
def _signals_to(stop: Stop) -> Iterator[None]:
    """Send SIGTERM and SIGINT to `stop` until the block is left."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.signalled, number.name)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _operators(pages: Pages, bound: list[socket.socket]) -> AsyncIterator[None]:
    server = OperatorsServer(pages)
    await server.open(bound)
    try:
        yield
    finally:
        await server.close()


async def _flush(tracker: Tracker, stop: Stop, seconds: float) -> None:
    """Send the events that wait: in what is left of `seconds`, or not at all when hurried."""
    least = seconds * (1 - SHARE_OF_REQUESTS)
    flushing = tasks.start("flush", _all(tracker, max(stop.seconds_left(seconds), least)))
    hurrying = tasks.start("hurry", _set(stop.hurry))
    await asyncio.wait((flushing, hurrying), return_when=asyncio.FIRST_COMPLETED)
    await tasks.stop(flushing, hurrying)
    # What a second signal cut off is dropped here, and counted.
    await tracker.flush(0.0)


async def _all(tracker: Tracker, seconds: float) -> None:
    await tracker.flush(seconds)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
