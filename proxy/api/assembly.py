"""What the clients' port is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.api.carrier import Carrier
from proxy.api.credentials import Gate
from proxy.api.flags import Flags
from proxy.api.health import Health
from proxy.api.routes import Router, table
from proxy.api.server import ClientServer
from proxy.api.tally import Tally
from proxy.api.vardata import CohortsOf, Track, Vardata, no_cohorts

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.tasks import Clock


def build_router(
    board: Board,
    track: Track,
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    *,
    is_ready: Callable[[], bool],
    cohorts_of: CohortsOf = no_cohorts,
) -> Router:
    """Return what answers requests, free of sockets."""
    vardata = Vardata(track, settings, metrics, clock, cohorts_of)
    gate = Gate(board, rejected=metrics.rejected, clock=clock)
    routes = table(vardata, Flags(settings), Health(is_ready))
    return Router(routes, gate, metrics.rejected)


def build_server(
    router: Router, settings: Settings, metrics: Metrics, clock: Clock
) -> ClientServer:
    """Return the server that carries the router's answers over HTTP."""
    carrier = Carrier(router, settings.limits, Tally(metrics), clock)
    server = ClientServer(carrier, settings.limits)
    metrics.http_active.set_function(server.connections_busy)
    return server
