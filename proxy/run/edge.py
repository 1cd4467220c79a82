"""The features of the clients' port that need more than the port itself: upstream, loops."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.api.features import Feature
    from proxy.metrics import Metrics
    from proxy.run.loops import Loops
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.upstream.client import UpstreamClient


class Edge:
    """Makes the features; their background loops run until the stack is closed."""

    def __init__(
        self, settings: Settings, board: Board, client: UpstreamClient, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._board = board
        self._client = client
        self._metrics = metrics

    async def open(self, loops: Loops, opened: AsyncExitStack) -> list[Feature]:
        """Start what runs in the background; return what the clients' port is to offer."""
        return []
