"""The features of the clients' port that need more than the port itself: upstream, files, loops."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.api.features import Feature
    from proxy.metrics import Metrics
    from proxy.run.loops import Loops
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.upstream.client import UpstreamClient


class Edge:
    """Makes the features; their background loops run until the stack is closed.

    `tls_context` is what the clients' port speaks TLS with, None for plain HTTP.
    """

    def __init__(
        self, settings: Settings, board: Board, client: UpstreamClient, metrics: Metrics
    ) -> None:
        self.tls_context: ssl.SSLContext | None = None
        self._settings = settings
        self._board = board
        self._client = client
        self._metrics = metrics
        self._parts: dict[str, Callable[[], dict[str, Any]]] = {}

    async def open(self, loops: Loops, opened: AsyncExitStack) -> list[Feature]:
        """Start what runs in the background; return what the clients' port is to offer."""
        features: list[Feature] = []
        await self._open_tls(loops, opened)
        return features

    def status(self) -> dict[str, Any]:
        """Return the state of each part that is switched on."""
        return {name: status() for name, status in self._parts.items()}

    async def _open_tls(self, loops: Loops, opened: AsyncExitStack) -> None:
        if not self._settings.tls.is_on:
            return
        # It brings a library that takes a while to load, and few need it.
        from proxy.api.tls import RenewingTls  # noqa: PLC0415

        tls = RenewingTls(self._settings.tls, self._metrics)
        await opened.enter_async_context(loops.running("certificates", tls.watch, vital=False))
        self.tls_context = tls.context
        self._parts["tls"] = tls.status
