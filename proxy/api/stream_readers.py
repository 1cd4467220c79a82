"""The clients of streams: what each was told last, and what becomes of those that do not read."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, Protocol, final

from proxy import logs
from proxy.api.messages import Response, failure
from proxy.api.routes import BROKEN
from proxy.api.standing import chunk
from proxy.api.stream_turns import Turns
from proxy.api.stream_unread import Unread
from proxy.api.stream_wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.api.standing import Standing
    from proxy.metrics import Metrics
    from proxy.settings.streams import Streams

KEEP_ALIVE: Final = chunk(b"data:  \n\n")
"""To the SDKs it is a message that says a blank; a comment would not reset their timers."""
LONGER_RENEWAL: Final = 0.25
SHORTEST_RETRY_SECONDS: Final = 5
LONGEST_RETRY_SECONDS: Final = 20


class Source(Protocol):
    """Where the messages of a reader come from."""

    @property
    def label(self) -> str:
        """The deployment's name in metrics."""

    @property
    def kind(self) -> str:
        """What the messages tell, in metrics."""

    @property
    def keep_alive(self) -> bytes:
        """The framed message that says that we are still there."""

    def newest(self, told: bytes | None) -> bytes | None:
        """Return the framed message that says what holds now; None when `told` says it."""

    def sent(self, reader: Reader, *, first: bool) -> None:
        """Hear that a reader was sent the newest message."""

    def left(self, reader: Reader) -> None:
        """Hear that a reader is gone."""


@final
class Reader:
    """One client of a stream, which holds no message but the one that it was sent last.

    `told` is that message, None before the first; `waits` tells that its turn is to come; `since`
    is when it came, on the loop's clock, and `until` when it is sent away to connect anew.
    """

    __slots__ = (
        "_readers", "since", "source", "spoke", "standing", "stuck_at", "told", "until", "waits",
    )  # fmt: skip

    def __init__(
        self, readers: Readers, standing: Standing, source: Source, since: float, until: float
    ) -> None:
        self.standing = standing
        self.source = source
        self.since = since
        self.until = until
        self.told: bytes | None = None
        self.waits = False
        self.spoke = 0
        self.stuck_at = 0
        self._readers = readers

    def has_room(self) -> None:
        """Take what is newest by now, if anything came while there was no room."""
        self._readers.has_room(self)

    def gone(self) -> None:
        """Be forgotten."""
        self._readers.remove(self)


@final
class Readers:
    """All clients of streams; bounded, and each at most one message behind."""

    def __init__(
        self, settings: Streams, metrics: Metrics, draw: Callable[[], float] = random.random
    ) -> None:
        self.unread = Unread(settings.max_unread_bytes)
        self.turns = Turns(self.unread, self._send, self._refuse_late)
        self.wheel = Wheel(settings.keep_alive_millis / 1000, self._touch)
        self._most = settings.max_connections
        self._renewal = settings.renew_millis / 1000
        self._draw = draw
        self._count = 0
        self._now = asyncio.get_running_loop().time
        self._log = logs.get("api")
        self._open = metrics.client_streams
        self._messages = metrics.client_stream_messages
        self._keep_alive = metrics.client_stream_messages.labels("keep_alive")
        self._bytes = metrics.client_stream_bytes
        self._full = metrics.client_streams_refused.labels("full")
        self._late = metrics.client_streams_refused.labels("late")
        self._stalled = metrics.client_streams_cut.labels("stalled")
        self._beyond = metrics.client_streams_cut.labels("unread")
        metrics.client_stream_unread_bytes.set_function(lambda: self.unread.total)

    def __len__(self) -> int:
        return self._count

    def refusal(self) -> Response | None:
        """Return what a further client is answered, None when there is room for it."""
        if self._count < self._most:
            return None
        self._full.inc()
        return self._later("There are too many streams")

    def add(self, standing: Standing, source: Source) -> Reader:
        """Take in a client; its first message comes as soon as it is its turn."""
        now = self._now()
        until = now + self._renewal * (1 + LONGER_RENEWAL * self._draw())
        reader = Reader(self, standing, source, now, until)
        standing.keep(reader)
        self._count += 1
        self._open.labels(source.label).inc()
        self.wheel.add(reader)
        self.turns.add(reader)
        return reader

    def remove(self, reader: Reader) -> None:
        """Forget a client that is gone."""
        self._count -= 1
        self._open.labels(reader.source.label).dec()
        self.wheel.remove(reader)
        self.unread.taken(reader)
        reader.source.left(reader)

    def has_room(self, reader: Reader) -> None:
        """Give a client that lagged behind the newest message, and none of those before."""
        self.unread.taken(reader)
        if reader.told is not None:
            self.turns.add(reader)

    def _send(self, reader: Reader) -> None:
        standing, told = reader.standing, reader.told
        # Who has not read the last message has its turn when it has.
        if not standing.is_open or standing.unread_bytes:
            return
        try:
            message = reader.source.newest(told)
        except Exception:  # noqa: BLE001  one stream's bug may not end all others
            self._log.exception("stream failed", kind=reader.source.kind)
            standing.refuse(BROKEN)
            standing.abort()
            return
        if message is None:
            return
        reader.told = message
        if told is None:
            standing.begin(message)
        else:
            standing.put(message)
        self._messages.labels(reader.source.kind).inc()
        self._bytes.inc(len(message))
        reader.source.sent(reader, first=told is None)
        self.unread.wrote(reader, standing.unread_bytes, self._now())
        while (slowest := self.unread.beyond()) is not None:
            self.unread.taken(slowest)
            self._beyond.inc()
            slowest.standing.abort()

    def _touch(self, reader: Reader, now: float) -> None:
        """Say that we are still there, to those who read; cut those who do not."""
        standing, stuck_at = reader.standing, reader.stuck_at
        reader.stuck_at = standing.unread_bytes
        if reader.stuck_at:
            # Its own patience ends two seconds after this.
            if reader.stuck_at == stuck_at:
                self._stalled.inc()
                standing.abort()
        elif reader.told is None or not standing.is_open:
            return
        elif now >= reader.until:
            standing.end()
        else:
            standing.put(reader.source.keep_alive)
            self._keep_alive.inc()
            self._bytes.inc(len(reader.source.keep_alive))

    def _refuse_late(self, reader: Reader) -> None:
        self._late.inc()
        reader.standing.refuse(self._later("There are too many streams to begin"))

    def _later(self, reason: str) -> Response:
        """Return a 503 that spreads those who hear it."""
        span = LONGEST_RETRY_SECONDS - SHORTEST_RETRY_SECONDS
        seconds = SHORTEST_RETRY_SECONDS + round(span * self._draw())
        return failure(503, reason, (("Retry-After", str(seconds)),))
