"""What the clients' port is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from proxy.api.described import described
from proxy.api.downloads import Downloads
from proxy.api.editions import Editions
from proxy.api.evaluator import Evaluator
from proxy.api.features import Feature, Tools
from proxy.api.flags import Flags
from proxy.api.health import Health
from proxy.api.in_force import InForce
from proxy.api.memberships import MembershipLists
from proxy.api.pages import PageKeys
from proxy.api.routes import Router, prefixes, table
from proxy.api.server import ClientServer
from proxy.api.tally import Tally
from proxy.api.traced import TracedCarrier, TracedTally
from proxy.api.uploads import Uploads
from proxy.api.vardata import Vardata
from proxy.api.web import WebFlags

if TYPE_CHECKING:
    from proxy.api.reports import Reports
    from proxy.metrics import Metrics
    from proxy.settings.schema import Project, Settings
    from proxy.snapshots.board import Board
    from proxy.tasks import Clock
    from proxy.telemetry.spans import Tracer


FEATURES: tuple[Feature, ...] = (batch, described)
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
    in_force, page_keys = InForce(settings.limits), PageKeys(board)
    vardata = Vardata(evaluator, editions, answers, in_force)
    gate = Gate(board, rejected=metrics.rejected, clock=clock)
    uploads = None if reports.desk is None else Uploads(reports.desk, metrics.rejected)
    flags = Flags(in_force, WebFlags(evaluator, in_force, metrics).answer)
    routes = dict(table(vardata, flags, Health(is_ready), uploads))
    project_gate = ProjectGate(rejected=metrics.rejected, clock=clock)
    cohorts = Cohorts(project_gate, library, metrics.rejected)
    memberships = MembershipLists(library.memberships_of, settings)
    beginnings = list(prefixes(cohorts, memberships))
    tools = Tools(board, settings, metrics, clock, gate, evaluator, vardata, in_force, page_keys)
    for feature in (*FEATURES, *features):
        offer = feature(tools)
        routes.update(offer.exact)
        beginnings.extend(offer.beginnings)
    router = Router(
        routes,
        gate,
        metrics.rejected,
        beginnings,
        cors=Cors(settings.cors, board),
        admission=Admission(settings.admission, metrics),
        in_force=in_force,
    )
    in_force.changes.append(partial(_change, router, board, (project_gate, page_keys)))
    in_force.apply(settings, dict(enumerate(settings.projects)))
    return router


def _change(
    router: Router,
    board: Board,
    who_knows: tuple[ProjectGate, PageKeys],
    settings: Settings,
    projects: Mapping[int, Project],
) -> None:
    """Let other settings count from the next request on."""
    router.admission.apply(settings.admission)
    router.cors = Cors(settings.cors, board)
    for one in who_knows:
        one.know(projects)


def shown(router: Router, server: ClientServer) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what the status page shows of the clients' port."""
    return {
        "connections": server.status,
        "cors": lambda: router.cors.status(),  # noqa: PLW0108  it may be another one by then
        "admission": router.admission.status,
    }


def build_server(
    router: Router,
    metrics: Metrics,
    clock: Clock,
    *,
    durable: Durable | None = None,
    tracer: Tracer | None = None,
) -> ClientServer:
    """Return the server that carries the router's answers over HTTP.

    With `durable`, an answer waits until what is told of it is safe; a `tracer` traces requests.
    """
    in_force, admission = router.in_force, router.admission
    downloads = Downloads(metrics, clock)
    if tracer is None:
        carrier = Carrier(router, downloads, Tally(metrics), clock, durable=durable)
    else:
        tally = TracedTally(metrics, tracer)
        parts = tracer, metrics, router, downloads, tally, clock
        carrier = TracedCarrier(*parts, durable=durable)
    in_force.changes.append(lambda _settings, _projects: carrier.take_cors())
    server = ClientServer(carrier, in_force, admission.overload, admission.doorman)
    metrics.http_active.set_function(server.connections_busy)
    for state in STATES:
        in_state = partial(server.connections_in, state)
        metrics.client_connections.labels(state).set_function(in_state)
    return server
