"""Serving: what is made of what, in which order it opens and closes."""

from __future__ import annotations

import asyncio
import gc
import platform
import resource
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import uvloop

from proxy import __version__, logs, tasks
from proxy.admin.pages import Pages
from proxy.api.assembly import build_router, build_server, shown
from proxy.api.cohorts import Library
from proxy.api.reports import Reports
from proxy.events.destinations import destinations
from proxy.events.opening import open_spool
from proxy.events.tracker import Tracker
from proxy.events.uploads import Uploads
from proxy.metrics import Metrics
from proxy.run.edge import Edge
from proxy.run.flushing import SHARE_OF_REQUESTS, flush
from proxy.run.house import House
from proxy.run.keeping import Keeping
from proxy.run.loops import Loops
from proxy.run.ports import Bound, Ports, bind_ports, operators_served
from proxy.run.stop import CANNOT_START, Stop, signals_to
from proxy.snapshots.board import Board
from proxy.upstream.client import UpstreamClient, open_session

if TYPE_CHECKING:
    from proxy.settings.schema import Settings

MOST_FILES: Final = 1 << 20
LONGEST_WARM_START_SECONDS: Final = 2.0

log = logs.get("run")


def main(settings: Settings, *, ready: Callable[[Ports], None] | None = None) -> int:
    """Serve until a signal; return the exit code: 0 stopped, 1 a loop died, 3 could not start."""
    raise_file_limit()
    # The program itself stays as it is: no collection need look at it again.
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


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Ports], None] | None = None,
    longest_warm_start: float = LONGEST_WARM_START_SECONDS,
) -> int:
    """Serve until a signal; `ready` hears the ports as soon as both are listened on.

    Clients are listened to when all is restored that the data directory kept, or after
    `longest_warm_start` seconds: then what is not back yet is answered 503.
    """
    bound = bind_ports(settings)
    if bound is None:
        return CANNOT_START
    stop = Stop()
    # Leaving the block drains requests, then flushes events, then ends sync, then closes all.
    async with AsyncExitStack() as opened:
        opened.enter_context(signals_to(stop))
        await _open(settings, bound, stop, longest_warm_start, opened)
        ports = bound.ports()
        log.info("listening", clients_port=ports.clients, operators_port=ports.operators)
        if ready is not None:
            ready(ports)
        await stop.asked.wait()
    log.info("stopped", exit_code=stop.exit_code)
    return stop.exit_code


async def _open(
    settings: Settings, bound: Bound, stop: Stop, longest_warm_start: float, opened: AsyncExitStack
) -> None:
    """Open everything, operators' port first, clients' port last."""
    metrics, board = Metrics(), Board()
    metrics.build_info.labels(__version__, platform.python_version()).set(1)
    loops = Loops(metrics, stop)
    seconds = settings.drain_deadline_millis / 1000
    client = UpstreamClient(await opened.enter_async_context(open_session()), settings.urls)
    kept = Keeping(settings, client, board, metrics)
    spool = await opened.enter_async_context(open_spool(settings, metrics))
    tracker = Tracker(
        destinations(settings, client), settings.assignment, settings.exposure, metrics, spool
    )
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
    pages = _pages(house, settings, metrics)
    await opened.enter_async_context(operators_served(pages, bound.operators))
    await kept.open(loops, opened)
    opened.push_async_callback(flush, tracker, stop, seconds)
    await opened.enter_async_context(loops.running("events", tracker.run))
    await tasks.wait_for_event(kept.syncer.restored, longest_warm_start)
    features = await edge.open(loops, opened)
    uploads = Uploads(settings.projects, tracker, metrics.rejected)
    reports = Reports(tracker.track, tracker.expose, uploads, tracker.retelling)
    router = build_router(
        board,
        reports,
        settings,
        metrics,
        tasks.wall_clock,
        is_ready=house.is_ready,
        library=Library(kept.find_cohort, kept.renew_cohort, kept.memberships_of, kept.shelf),
        features=features,
    )
    durable = None if settings.events.commit_millis else tracker.durable
    server = build_server(router, settings, metrics, tasks.wall_clock, durable=durable)
    edge.show(shown(router, server))
    await server.open([*bound.clients, *bound.local], edge.tls_context)
    opened.push_async_callback(server.drain, seconds * SHARE_OF_REQUESTS, stop.hurry)


def _pages(house: House, settings: Settings, metrics: Metrics) -> Pages:
    metrics.ready.set_function(house.is_ready)
    metrics.configured.labels("data_dir").set(settings.data_dir is not None)
    metrics.configured.labels("stream").set(settings.stream_updates)
    return Pages(
        metrics.registry,
        metrics_path=settings.metrics.path,
        is_ready=house.is_ready,
        readiness=house.readiness,
        status=house.status,
    )
