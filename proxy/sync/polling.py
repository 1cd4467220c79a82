"""The poll of one deployment's flags."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import final

from proxy import tasks
from proxy.errors import UpstreamError, UpstreamGarbled
from proxy.sync.content import same_flags
from proxy.sync.desk import Desk
from proxy.sync.intake import ACCEPTED, Verdict
from proxy.sync.journal import DETAILS
from proxy.sync.means import Means
from proxy.sync.schedule import Backoff, jittered
from proxy.sync.streaming import Streaming
from proxy.upstream.flags import fetch_flags

WHAT = "flags"


@final
class Polling:
    """Asks for the flags at each interval: rarely while the stream delivers, at once when it ends.

    A poll that brings other flags than the stream last did changes nothing: which of the two is
    older cannot be told from them, so the stream is asked again. `wake` makes it ask at once.
    """

    def __init__(self, desk: Desk, means: Means, streaming: Streaming, wake: asyncio.Event) -> None:
        self.tried = asyncio.Event()
        self._wake = wake
        self._desk = desk
        self._means = means
        self._streaming = streaming
        self._validator: tuple[str, bytes | None] = ("", None)
        self._backoff = Backoff(
            desk.draw,
            first=min(1.0, means.timings.flags),
            longest=max(means.timings.flags, means.timings.longest_retry),
        )

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            self._wake.clear()
            pause = await self._attempt()
            self.tried.set()
            self._desk.journal.expect(pause)
            if self._backoff.failures:
                # Upstream is in trouble: no news from elsewhere makes this loop ask earlier.
                await asyncio.sleep(pause)
            else:
                await tasks.wait_for_event(self._wake, pause)

    async def _attempt(self) -> float:
        """Ask once and return the pause until the next time."""
        counters = self._means.metrics.official
        counters["flags_fetch"].inc()
        try:
            outcome = await self._ask()
        except UpstreamError as error:
            counters["flags_fetch_failure"].inc()
            self._desk.journal.failed(WHAT, error)
            return self._backoff.failed(error.retry_after)
        self._backoff.succeeded()
        self._desk.journal.note(WHAT, outcome, DETAILS.get(outcome, ""))
        timings = self._means.timings
        if outcome == "unconfirmed":
            return self._means.timings.until_second_word
        rarely = timings.while_streaming if self._streaming.delivers else 1.0
        return jittered(timings.flags * rarely, self._desk.draw)

    async def _ask(self) -> Verdict | str:
        held = self._desk.intake.body
        async with AsyncExitStack() as stack:
            if held is None:
                await stack.enter_async_context(self._means.gate.turn())
            elif self._desk.intake.restored:
                await stack.enter_async_context(self._means.confirmations.turn())
            asked_at = asyncio.get_running_loop().time()
            etag, body = self._validator
            fetched = await fetch_flags(
                self._means.client, self._desk.key, etag if body is held else ""
            )
        if fetched.body is None:
            return self._unchanged(held)
        return await self._weigh(fetched.body, asked_at - fetched.age, fetched.etag)

    def _unchanged(self, asked_about: bytes | None) -> Verdict:
        """Take a 304, which speaks of the body that was asked about."""
        if self._desk.intake.body is not asked_about:
            return "stale"
        return self._desk.intake.confirm()

    async def _weigh(self, body: bytes, as_of: float, etag: str) -> Verdict | str:
        if not body.strip():
            raise UpstreamGarbled("the flag configs are empty")
        if await self._contradicts_stream(body):
            if as_of < self._desk.intake.as_of:
                return "stale"
            self._desk.intake.doubt_empty()
            self._streaming.doubt()
            return "disagrees"
        verdict = await self._desk.intake.take(body, "poll", as_of)
        if verdict in ACCEPTED:
            self._validator = (etag, self._desk.intake.body)
        return verdict

    async def _contradicts_stream(self, body: bytes) -> bool:
        streamed = self._streaming.body
        if streamed is None or body == streamed:
            return False
        same = await asyncio.to_thread(same_flags, body, streamed)
        return not same and self._streaming.delivers
