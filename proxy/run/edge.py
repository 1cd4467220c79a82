"""The features of the clients' port that need more than the port itself: upstream, files, loops."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy import tasks
from proxy.api.features import Offer
from proxy.api.ofrep import ofrep
from proxy.api.ofrep_streams import OfrepStreams
from proxy.api.relayed import relayed
from proxy.api.stream_variants import VariantStreams
from proxy.api.streams import FlagStreams, switched_off
from proxy.errors import SettingsError
from proxy.relay.others import Others
from proxy.relay.relay import Relay
from proxy.run.web import Web
from proxy.settings.tls import TlsError
from proxy.upstream.remote import evaluate_remotely

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from proxy.api.editions import Holdings
    from proxy.api.features import Feature, Tools
    from proxy.api.stream_readers import Readers
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
        self,
        settings: Settings,
        board: Board,
        holdings: Holdings,
        client: UpstreamClient,
        metrics: Metrics,
    ) -> None:
        self.tls_context: ssl.SSLContext | None = None
        self._settings = settings
        self._board = board
        self._holdings = holdings
        self._client = client
        self._metrics = metrics
        self._readers: Readers | None = None
        self._parts: dict[str, Callable[[], dict[str, Any]]] = {}

    async def open(self, loops: Loops, opened: AsyncExitStack) -> list[Feature]:
        """Start what runs in the background; return what the clients' port is to offer."""
        features: list[Feature] = []
        await self._open_tls(loops, opened)
        features.extend(await self._open_streams(loops, opened))
        features.append(await self._open_ofrep(loops, opened))
        if self._settings.remote_evaluation.mode != "off":
            features.append(self._open_relay(opened))
        features.extend(self._open_web(opened))
        features.append(self._show_answers)
        return features

    def show(self, parts: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
        """Add parts to the status."""
        self._parts.update(parts)

    def status(self) -> dict[str, Any]:
        """Return the state of each part that is switched on."""
        return {name: status() for name, status in self._parts.items()}

    def _show_answers(self, tools: Tools) -> Offer:
        self._parts["answer_cache"] = tools.vardata.answers.status
        return Offer()

    def _open_relay(self, opened: AsyncExitStack) -> Feature:
        bounds = self._settings.remote_evaluation
        call = partial(evaluate_remotely, self._client)
        relay = Relay(call, bounds, self._board, self._metrics, random.random)
        opened.push_async_callback(relay.close)
        self._parts["remote_evaluation"] = relay.status
        return relayed(relay, Others(bounds.mode))

    def _open_web(self, opened: AsyncExitStack) -> list[Feature]:
        now = asyncio.get_running_loop().time
        web = Web(self._settings, self._client, self._metrics, now)
        self._parts["web"] = web.status
        return web.open(opened)

    async def _open_streams(self, loops: Loops, opened: AsyncExitStack) -> list[Feature]:
        wanted = self._settings.streams
        if not wanted.enabled:
            return [switched_off]
        flags = FlagStreams(self._board, wanted, self._metrics)
        for name, body in flags.loops():
            await opened.enter_async_context(loops.running(name, body, vital=False))
        self._parts["streams"] = flags.status
        self._readers = flags.readers
        if not wanted.variants:
            return [flags.offer]
        variants = VariantStreams(self._board, flags.readers, self._settings)
        running = loops.running("streams of variants", variants.watch, vital=False)
        await opened.enter_async_context(running)
        self._parts["streams_of_variants"] = variants.status
        return [flags.offer, variants.offer]

    async def _open_ofrep(self, loops: Loops, opened: AsyncExitStack) -> Feature:
        if self._readers is None or not self._settings.ofrep.enabled:
            return ofrep
        streams = OfrepStreams(
            self._board,
            self._holdings,
            self._readers,
            self._settings.ofrep,
            clock=tasks.wall_clock,
        )
        running = loops.running("streams of OFREP", streams.watch, vital=False)
        await opened.enter_async_context(running)
        self._parts["ofrep"] = streams.status
        return partial(ofrep, streams=streams)

    async def _open_tls(self, loops: Loops, opened: AsyncExitStack) -> None:
        if not self._settings.tls.is_on:
            return
        # It brings a library that takes a while to load, and few need it.
        from proxy.api.tls import RenewingTls  # noqa: PLC0415

        try:
            tls = RenewingTls(self._settings.tls, self._metrics)
        except TlsError as error:
            # They were good when the settings were read.
            raise SettingsError([f"configuration.tls.{error.field}: {error}"]) from None
        await opened.enter_async_context(loops.running("certificates", tls.watch, vital=False))
        self.tls_context = tls.context
        self._parts["tls"] = tls.status
