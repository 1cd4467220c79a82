"""What the clients' port is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from proxy.api.carrier import Carrier, Durable
from proxy.api.cohorts import NO_LIBRARY, Cohorts, Library
from proxy.api.credentials import Gate, ProjectGate
from proxy.api.downloads import Downloads
from proxy.api.evaluator import Evaluator
from proxy.api.features import Feature, Tools
from proxy.api.flags import Flags
from proxy.api.health import Health
from proxy.api.memberships import MembershipLists
from proxy.api.routes import Router, prefixes, table
from proxy.api.server import ClientServer
from proxy.api.tally import Tally
from proxy.api.uploads import Uploads
from proxy.api.vardata import Vardata

if TYPE_CHECKING:
    from proxy.api.reports import Reports
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.tasks import Clock


FEATURES: tuple[Feature, ...] = ()
"""Features that need nothing but the clients' port itself."""


def build_router(
    board: Board,
    reports: Reports,
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    *,
    is_ready: Callable[[], bool],
    library: Library = NO_LIBRARY,
    features: Iterable[Feature] = (),
) -> Router:
    """Return what answers requests, free of sockets."""
    evaluator = Evaluator(reports, settings, metrics, clock, library.memberships_of)
    vardata = Vardata(evaluator, settings)
    gate = Gate(board, rejected=metrics.rejected, clock=clock)
    uploads = None if reports.desk is None else Uploads(reports.desk)
    routes = dict(table(vardata, Flags(settings), Health(is_ready), uploads))
    project_gate = ProjectGate(settings.projects, rejected=metrics.rejected, clock=clock)
    cohorts = Cohorts(project_gate, library, metrics.rejected)
    memberships = MembershipLists(library.memberships_of, settings)
    beginnings = list(prefixes(cohorts, memberships))
    tools = Tools(board, settings, metrics, clock, gate, evaluator)
    for feature in (*FEATURES, *features):
        offer = feature(tools)
        routes.update(offer.exact)
        beginnings.extend(offer.beginnings)
    return Router(routes, gate, metrics.rejected, beginnings)


def build_server(
    router: Router,
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    *,
    durable: Durable | None = None,
) -> ClientServer:
    """Return the server that carries the router's answers over HTTP.

    With `durable`, an answer waits until what is told of it is safe.
    """
    downloads = Downloads(metrics, clock)
    carrier = Carrier(router, downloads, settings.limits, Tally(metrics), clock, durable=durable)
    server = ClientServer(carrier, settings.limits)
    metrics.http_active.set_function(server.connections_busy)
    return server
