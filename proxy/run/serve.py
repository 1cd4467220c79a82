"""Serving: what is made of what, in which order it opens and closes."""

from __future__ import annotations

import asyncio
import gc
import platform
import resource
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop

from proxy import __version__, logs, tasks
from proxy.api.assembly import build_router, build_server, shown
from proxy.api.cohorts import Library
from proxy.api.reports import Reports
from proxy.events.destinations import destinations
from proxy.events.opening import open_spool
from proxy.events.tracker import Tracker
from proxy.events.untaken import Untaken
from proxy.events.uploads import Uploads
from proxy.metrics import Metrics
from proxy.run.applying import Applying
from proxy.run.edge import Edge
from proxy.run.flushing import SHARE_OF_REQUESTS, flush
from proxy.run.house import House
from proxy.run.keeping import Keeping
from proxy.run.loops import Loops
from proxy.run.offline import asking_nobody
from proxy.run.operators import Operators
from proxy.run.ports import Bound, Ports, bind_ports
from proxy.run.reloading import Reloader, hangups_to
from proxy.run.stop import CANNOT_START, Stop, signals_to
from proxy.run.telemetry import Telemetry, open_telemetry
from proxy.snapshots.board import Board
from proxy.upstream.client import UpstreamClient, open_session
from proxy.upstream.refusing import open_no_session

if TYPE_CHECKING:
    from proxy.api.in_force import InForce
    from proxy.settings.schema import Settings
    from proxy.settings.source import Source

MOST_FILES: Final = 1 << 20
LONGEST_WARM_START_SECONDS: Final = 2.0

log = logs.get("run")


def main(
    settings: Settings,
    *,
    source: Source | None = None,
    ready: Callable[[Ports], None] | None = None,
) -> int:
    """Serve until a signal; return the exit code: 0 stopped, 1 a loop died, 3 could not start."""
    raise_file_limit()
    # The program itself stays as it is: no collection need look at it again.
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, source=source, ready=ready))


def raise_file_limit() -> int:
    """Let this process open as many files as the system allows; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Shells keep the soft limit low for programs that use select(); this one does not.
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


async def serve(
    settings: Settings,
    *,
    source: Source | None = None,
    ready: Callable[[Ports], None] | None = None,
    longest_warm_start: float = LONGEST_WARM_START_SECONDS,
) -> int:
    """Serve until a signal; `ready` hears the ports as soon as both are listened on.

    Clients are listened to when all is restored that the data directory kept, or after
    `longest_warm_start` seconds: then what is not back yet is answered 503. With the `source` of
    the settings, they change as it does.
    """
    bound = bind_ports(settings)
    if bound is None:
        return CANNOT_START
    stop = Stop()
    # Leaving the block drains requests, then flushes events, then ends sync, then closes all.
    async with AsyncExitStack() as opened:
        opened.enter_context(signals_to(stop))
        metrics = Metrics()
        reloader = Reloader(settings, source, metrics)
        if source is not None:
            opened.enter_context(hangups_to(reloader))
        await _open(
            reloader, metrics, bound, stop, longest_warm_start=longest_warm_start, opened=opened
        )
        ports = bound.ports()
        log.info("listening", clients_port=ports.clients, operators_port=ports.operators)
        if ready is not None:
            ready(ports)
        await stop.asked.wait()
    log.info("stopped", exit_code=stop.exit_code)
    return stop.exit_code


class _Rooms(NamedTuple):
    """What is made before any port is open."""

    settings: Settings
    metrics: Metrics
    board: Board
    loops: Loops
    client: UpstreamClient
    telemetry: Telemetry
    kept: Keeping
    tracker: Tracker
    edge: Edge
    house: House
    operators: Operators


async def _open(
    reloader: Reloader,
    metrics: Metrics,
    bound: Bound,
    stop: Stop,
    *,
    longest_warm_start: float,
    opened: AsyncExitStack,
) -> None:
    """Open everything, operators' port first, clients' port last."""
    rooms = await _furnish(reloader.settings, metrics, bound, stop, opened)
    loops, kept, tracker = rooms.loops, rooms.kept, rooms.tracker
    rooms.house.show(config=reloader.status)
    await rooms.operators.open(bound.operators, loops, opened)
    await kept.open(loops, opened)
    seconds = rooms.settings.drain_deadline_millis / 1000
    opened.push_async_callback(flush, tracker, stop, seconds)
    await opened.enter_async_context(loops.running("events", tracker.run))
    await tasks.wait_for_event(kept.syncer.restored, longest_warm_start)
    in_force = await _open_clients_port(rooms, bound, stop, opened)
    applying = Applying(
        rooms.settings,
        rooms.client,
        kept=kept,
        tracker=tracker,
        in_force=in_force,
        house=rooms.house,
    )
    following = partial(reloader.run, applying.apply)
    await opened.enter_async_context(loops.running("configuration", following, vital=False))


async def _furnish(
    given: Settings, metrics: Metrics, bound: Bound, stop: Stop, opened: AsyncExitStack
) -> _Rooms:
    settings, board = asking_nobody(given), Board()
    is_offline = settings.offline.is_on
    metrics.build_info.labels(__version__, platform.python_version()).set(1)
    loops = Loops(metrics, stop)
    port = bound.ports().clients
    telemetry = await open_telemetry(settings, metrics, loops, stop, opened, port=port)
    asking = open_no_session() if is_offline else open_session(*telemetry.hooks)
    client = UpstreamClient(await opened.enter_async_context(asking), settings.urls)
    kept = Keeping(settings, client, board, metrics)
    spool = await opened.enter_async_context(open_spool(settings, metrics))
    tracker = Tracker(
        destinations(settings, client), settings.assignment, settings.exposure, metrics, spool
    )
    tracker.sends = not is_offline
    edge = Edge(settings, board, kept.shelf, client, metrics)
    house = House(
        settings,
        store=kept.store,
        syncer=kept.syncer,
        tracker=tracker,
        edge=edge,
        loops=loops,
        stop=stop,
    )
    operators = Operators(settings, metrics, board, house, kept)
    made = (client, telemetry, kept, tracker, edge, house, operators)
    return _Rooms(settings, metrics, board, loops, *made)


async def _open_clients_port(
    rooms: _Rooms, bound: Bound, stop: Stop, opened: AsyncExitStack
) -> InForce:
    """Listen to clients; return what of it changes without a restart."""
    settings, metrics, kept, edge = rooms.settings, rooms.metrics, rooms.kept, rooms.edge
    features = await edge.open(rooms.loops, opened)
    reports = _reports(settings, rooms.tracker, metrics)
    router = build_router(
        rooms.board,
        reports,
        settings,
        metrics,
        tasks.wall_clock,
        is_ready=rooms.house.is_ready,
        library=Library(kept.find_cohort, kept.renew_cohort, kept.memberships_of, kept.shelf),
        features=features,
    )
    durable = None if settings.events.commit_millis else rooms.tracker.durable
    clock, tracer = tasks.wall_clock, rooms.telemetry.tracer
    server = build_server(router, metrics, clock, durable=durable, tracer=tracer)
    edge.show({**shown(router, server), **rooms.telemetry.parts})
    await server.open([*bound.clients, *bound.local], edge.tls_context)
    seconds = settings.drain_deadline_millis / 1000
    opened.push_async_callback(server.drain, seconds * SHARE_OF_REQUESTS, stop.hurry)
    router.in_force.changes.append(rooms.operators.change)
    if isinstance(reports.desk, Uploads):
        router.in_force.changes.append(reports.desk.change)
    return router.in_force


def _reports(settings: Settings, tracker: Tracker, metrics: Metrics) -> Reports:
    if settings.offline.is_on and settings.offline.events == "drop":
        untaken = Untaken(metrics)
        return Reports(untaken.track, untaken.expose, untaken)
    uploads = Uploads(settings.projects, tracker, metrics.rejected)
    return Reports(tracker.track, tracker.expose, uploads, tracker.retelling)
