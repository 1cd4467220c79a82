"""Both ports as `serve` makes them, without a socket."""

from contextlib import AsyncExitStack
from typing import Any

from proxy.admin.pages import Pages
from proxy.api.assembly import build_router
from proxy.api.reports import Reports
from proxy.api.routes import Router
from proxy.events.uploads import Uploads
from proxy.metrics import Metrics
from proxy.run.edge import Edge
from proxy.run.keeping import Keeping
from proxy.run.loops import Loops
from proxy.run.operators import Operators
from proxy.run.stop import Stop
from proxy.settings.schema import Settings
from proxy.snapshots.board import Board
from proxy.tasks import wall_clock
from proxy.upstream.client import UpstreamClient, open_session
from tests.serving import DictHoldings


async def router_of(settings: Settings, opened: AsyncExitStack) -> Router:
    """Make the clients' port as `serve` makes it, without a socket."""
    metrics, board = Metrics(), Board()
    client = UpstreamClient(await opened.enter_async_context(open_session()), settings.urls)
    edge = Edge(settings, board, DictHoldings({}), client, metrics)
    features = await edge.open(Loops(metrics, Stop()), opened)
    # Nothing is taken in: a desk only has to say where uploads would go.
    desk = Uploads((), None, metrics.rejected)  # type: ignore[arg-type]
    reports = Reports(lambda *_: None, lambda *_: None, desk)
    return build_router(
        board,
        reports,
        settings,
        metrics,
        wall_clock,
        is_ready=lambda: True,
        features=features,
    )


class Quiet:
    """A house in which nothing goes on."""

    def is_ready(self) -> bool:
        return True

    def readiness(self) -> list[tuple[str, bool, str]]:
        return []

    def status(self) -> dict[str, Any]:
        return {}


async def pages_of(settings: Settings, opened: AsyncExitStack) -> Pages:
    """Make the pages of the operators' port."""
    metrics, board = Metrics(), Board()
    client = UpstreamClient(await opened.enter_async_context(open_session()), settings.urls)
    kept = Keeping(settings, client, board, metrics)
    return Operators(settings, metrics, board, Quiet(), kept)._pages()  # type: ignore[arg-type]
