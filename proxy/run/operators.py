"""The operators' port: its pages, who may see them, and the loops that watch for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy import tasks
from proxy.admin.described import described
from proxy.admin.explaining import Explanations
from proxy.admin.feed import Feed
from proxy.admin.files import page_routes
from proxy.admin.flags import FlagsPage
from proxy.admin.guard import Guard
from proxy.admin.pages import Pages
from proxy.admin.traffic import Traffic
from proxy.api.settling import KnownCohorts
from proxy.api.tally import OFFICIAL_OF_ROUTE
from proxy.openapi.description import Description
from proxy.run.ports import operators_served

if TYPE_CHECKING:
    import socket
    from contextlib import AsyncExitStack

    from proxy.metrics import Metrics
    from proxy.run.house import House
    from proxy.run.keeping import Keeping
    from proxy.run.loops import Loops
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board


EVALUATION_ROUTES: Final = [
    route for route, official in OFFICIAL_OF_ROUTE.items() if official == "evaluation_request"
]


class Operators:
    """Makes the pages and opens the port."""

    def __init__(
        self, settings: Settings, metrics: Metrics, board: Board, house: House, kept: Keeping
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._house = house
        self._guard = Guard(settings.metrics, metrics)
        self._flags = FlagsPage(board, kept.syncer.status, tasks.wall_clock)
        self._description = Description("operators", settings)
        self._feed = Feed(board)
        self._traffic = Traffic(metrics.http_seconds, EVALUATION_ROUTES, tasks.wall_clock)
        known = KnownCohorts(kept.memberships_of, trusts_claims=settings.trust_client_cohorts)
        self._explanations = Explanations(board, known.settle, settings.limits)

    async def open(self, bound: list[socket.socket], loops: Loops, opened: AsyncExitStack) -> None:
        """Serve on bound sockets, and watch, until the stack is closed."""
        for name, body in (("changes", self._feed.watch), ("traffic", self._traffic.watch)):
            await opened.enter_async_context(loops.running(name, body, vital=False))
        await opened.enter_async_context(operators_served(self._pages(), bound, self._guard))

    def change(self, settings: Settings, _projects: object) -> None:
        """Let other credentials and limits count from now on."""
        self._guard.take(settings.metrics)
        self._description.take(settings)
        self._explanations.limits = settings.limits

    def _pages(self) -> Pages:
        settings, metrics, house = self._settings, self._metrics, self._house
        metrics.ready.set_function(house.is_ready)
        metrics.configured.labels("data_dir").set(settings.data_dir is not None)
        metrics.configured.labels("stream").set(settings.stream_updates)
        pages = Pages(
            metrics.registry,
            metrics_path=settings.metrics.path,
            is_ready=house.is_ready,
            readiness=house.readiness,
            status=house.status,
        )
        pages.add(
            {
                "/status/flags": {"GET": self._flags.answer},
                "/status/changes": {"GET": self._feed.answer},
                "/status/traffic": {"GET": self._traffic.answer},
                "/explain": {"POST": self._explanations.answer},
                **page_routes(),
            }
        )
        pages.add(described(self._description))
        return pages
