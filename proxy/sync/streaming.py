"""The stream of one deployment's flags."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, NoReturn, final

from proxy.errors import UpstreamError, UpstreamGarbled
from proxy.sync.desk import Desk
from proxy.sync.intake import ACCEPTED
from proxy.sync.journal import DETAILS
from proxy.sync.means import Means
from proxy.sync.schedule import Backoff, jittered
from proxy.upstream.flags import FlagStream, open_flag_stream

State = Literal["off", "connecting", "delivers", "waits", "not offered"]
WHAT = "stream"
NOT_OFFERED = 501


@final
class Streaming:
    """Follows the stream, renews it without a gap, and tries again when it is lost.

    `ask_poll` is called whenever polling should step in at once. `body` is what a delivering
    stream said last.
    """

    def __init__(self, desk: Desk, means: Means, ask_poll: Callable[[], None]) -> None:
        self.state: State = "off"
        self.body: bytes | None = None
        self._desk = desk
        self._means = means
        self._ask_poll = ask_poll
        self._renew_at = 0.0
        self._backoff = Backoff(
            desk.draw,
            first=means.timings.stream_retry,
            longest=means.timings.longest_stream_retry,
            low=0.9,
            high=1.1,
        )

    @property
    def delivers(self) -> bool:
        """Whether the stream is the source to go by."""
        return self.state == "delivers"

    def doubt(self) -> None:
        """Renew the connection soon: its first message settles what upstream serves."""
        self._renew_at = _now()

    async def run(self) -> None:
        """Follow the stream for ever, whenever there is a seat for it."""
        self._set("waits")
        try:
            while True:
                try:
                    async with self._means.seats:
                        await self._follow()
                except UpstreamError as error:
                    pause = self._lost(error)
                await asyncio.sleep(pause)
        finally:
            self._set("waits")

    async def _follow(self) -> NoReturn:
        """Follow one stream, and those that renew it, until one is lost."""
        self._set("connecting")
        stream = await self._open("connected")
        try:
            while True:
                body = await stream.next(self._renew_at)
                if body:
                    await self._take(body)
                elif body is not None:
                    self._alive()
                if _now() >= self._renew_at:
                    stream = await self._renew(stream)
        finally:
            stream.close()

    async def _open(self, outcome: str) -> FlagStream:
        """Open a stream and take its first array; whatever fails, nothing stays open."""
        async with self._means.openings.turn():
            stream = await open_flag_stream(
                self._means.client, self._desk.key, self._means.timings.patience
            )
            try:
                body = None
                while not body:
                    body = await stream.next(float("inf"))
                await self._take(body)
            except BaseException:
                stream.close()
                raise
        self._desk.journal.note(WHAT, outcome)
        self._backoff.succeeded()
        self._set("delivers")
        self._renew_at = _now() + jittered(self._means.timings.renewal, self._desk.draw)
        return stream

    async def _renew(self, old: FlagStream) -> FlagStream:
        """Return a new stream and close the old one; keep the old one while there is no new."""
        try:
            fresh = await self._open("renewed")
        except UpstreamError as error:
            self._desk.journal.failed(WHAT, error)
            self._renew_at = _now() + self._backoff.failed(error.retry_after)
            return old
        old.close()
        return fresh

    async def _take(self, body: bytes) -> None:
        verdict = await self._desk.intake.take(body, "stream", _now())
        if verdict == "broken":
            raise UpstreamGarbled("none of the streamed flags can be used")
        self.body = self._desk.intake.body if verdict in ACCEPTED else body
        self._desk.journal.note(WHAT, verdict, DETAILS.get(verdict, ""))
        if verdict == "unconfirmed":
            # Not at once: what is wrong upstream for a moment must not confirm itself.
            asyncio.get_running_loop().call_later(
                self._means.timings.until_second_word, self._ask_poll
            )

    def _alive(self) -> None:
        """Take a keep-alive: what the stream said last is still so."""
        if self.body is self._desk.intake.body:
            self._desk.intake.confirm()

    def _lost(self, error: UpstreamError) -> float:
        """Note that there is no stream; return the pause until the next attempt."""
        if self.delivers:
            self._ask_poll()
        self._set("waits")
        if error.status == NOT_OFFERED:
            self._set("not offered")
            self._desk.journal.note(WHAT, "not_offered")
            return jittered(self._means.timings.stream_not_offered, self._desk.draw)
        self._desk.journal.failed(WHAT, error)
        return self._backoff.failed(error.retry_after)

    def _set(self, state: State) -> None:
        self.state = state
        if state != "delivers":
            self.body = None
        self._desk.gauges.stream(delivers=self.delivers)


def _now() -> float:
    return asyncio.get_running_loop().time()
