"""What the clients' port is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.api.admission import Admission
from proxy.api.answers import Answers
from proxy.api.batch import batch
from proxy.api.carrier import Carrier, Durable
from proxy.api.cohorts import NO_LIBRARY, Cohorts, Library
from proxy.api.connection import STATES
from proxy.api.cors import Cors
from proxy.api.credentials import Gate, ProjectGate
from proxy.api.downloads import Downloads
from proxy.api.editions import Editions
from proxy.api.evaluator import Evaluator
from proxy.api.features import Feature, Tools
from proxy.api.flags import Flags
from proxy.api.health import Health
from proxy.api.memberships import MembershipLists
from proxy.api.overload import Overload
from proxy.api.routes import Router, prefixes, table
from proxy.api.server import ClientServer
from proxy.api.tally import Tally
from proxy.api.uploads import Uploads
from proxy.api.vardata import Vardata
from proxy.api.web import WebFlags

if TYPE_CHECKING:
    from proxy.api.reports import Reports
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.tasks import Clock


FEATURES: tuple[Feature, ...] = (batch,)
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
    answers = Answers(settings.answer_cache.max_bytes, metrics, evaluator.retelling)
    editions = Editions(
        board, library.holdings, answers.retire, trusts_claims=settings.trust_client_cohorts
    )
    vardata = Vardata(evaluator, editions, answers, settings)
    gate = Gate(board, rejected=metrics.rejected, clock=clock)
    uploads = None if reports.desk is None else Uploads(reports.desk, metrics.rejected)
    flags = Flags(settings, WebFlags(evaluator, settings, metrics).answer)
    routes = dict(table(vardata, flags, Health(is_ready), uploads))
    project_gate = ProjectGate(settings.projects, rejected=metrics.rejected, clock=clock)
    cohorts = Cohorts(project_gate, library, metrics.rejected)
    memberships = MembershipLists(library.memberships_of, settings)
    beginnings = list(prefixes(cohorts, memberships))
    tools = Tools(board, settings, metrics, clock, gate, evaluator, vardata)
    for feature in (*FEATURES, *features):
        offer = feature(tools)
        routes.update(offer.exact)
        beginnings.extend(offer.beginnings)
    bounds = settings.admission.in_force
    return Router(
        routes,
        gate,
        metrics.rejected,
        beginnings,
        cors=Cors(settings.cors, board),
        admission=Admission(settings.admission, metrics) if bounds else None,
    )


def shown(router: Router, server: ClientServer) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what the status page shows of the clients' port."""
    parts = {"connections": server.status, "cors": router.cors.status}
    return parts if router.admission is None else {**parts, "admission": router.admission.status}


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
    admission = router.admission
    overload = Overload(0.0, metrics) if admission is None else admission.overload
    doorman = None if admission is None else admission.doorman
    server = ClientServer(carrier, settings.limits, overload, doorman)
    metrics.http_active.set_function(server.connections_busy)
    for state in STATES:
        in_state = partial(server.connections_in, state)
        metrics.client_connections.labels(state).set_function(in_state)
    return server
