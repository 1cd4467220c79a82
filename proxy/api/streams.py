"""Flag configs as they change: `/sdk/stream/v1/flags`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from proxy.api.features import Offer
from proxy.api.messages import Request, Response, failure
from proxy.api.routes import Route, with_head
from proxy.api.standing import chunk
from proxy.api.stream_readers import KEEP_ALIVE, Reader, Readers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from proxy.api.features import Tools
    from proxy.api.standing import Standing
    from proxy.instruments import Timing
    from proxy.metrics import Metrics
    from proxy.settings.streams import Streams
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot

PATH: Final = "/sdk/stream/v1/flags"
EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))
SWITCHED_OFF: Final = failure(501, "Streams are switched off here")
PYTHON: Final = "experiment-python-server/"
AT_ONCE: Final = 64


def event(body: bytes, name: bytes = b"") -> bytes:
    """Return a JSON text as the chunk that tells it in one event, on one line."""
    # Newlines of a JSON text only ever stand between its tokens.
    if b"\n" in body or b"\r" in body:
        body = body.translate(None, b"\r\n")
    return chunk(b"event: %b\ndata: %b\n\n" % (name, body) if name else b"data: %b\n\n" % body)


@final
class Channel:
    """The flags of one deployment as one message, made once for all who read it."""

    kind = "flags"
    keep_alive = KEEP_ALIVE

    def __init__(self, label: str, delays: Timing) -> None:
        self.label = label
        self.readers: set[Reader] = set()
        self._delays = delays
        self._body = b""
        self._message = b""
        self._changed_at = 0.0
        self._now = asyncio.get_running_loop().time

    def take(self, body: bytes) -> bool:
        """Take flags; return whether they say anything new."""
        if body is self._body or body == self._body:
            return False
        self._body = body
        self._message = event(body)
        self._changed_at = self._now()
        return True

    def newest(self, told: bytes | None) -> bytes | None:
        """Return the message; None to who was told just this."""
        return None if told is self._message else self._message

    def sent(self, _reader: Reader, *, first: bool) -> None:
        """Take the time."""
        if not first:
            self._delays.observe(self._now() - self._changed_at)

    def left(self, reader: Reader) -> None:
        """Forget a reader."""
        self.readers.discard(reader)


@final
class FlagStreams:
    """Streams the flags of each deployment to whoever asks for them."""

    def __init__(self, board: Board, settings: Streams, metrics: Metrics) -> None:
        self.readers = Readers(settings, metrics)
        self._board = board
        self._delays = metrics.client_stream_delay.labels()
        self._channels: dict[str, Channel] = {}

    def offer(self, _tools: Tools) -> Offer:
        """Return the route of the stream."""
        return Offer({PATH: Route(PATH, guarded=with_head({"GET": self._begin}))})

    def status(self) -> dict[str, Any]:
        """Return how many clients stream, and how far they are behind."""
        return {
            "open": len(self.readers),
            "waiting_for_their_turn": len(self.readers.turns),
            "unread_bytes": self.readers.unread.total,
            "deployments": {
                channel.label: len(channel.readers) for channel in self._channels.values()
            },
        }

    def loops(self) -> Iterable[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """Return what has to run as long as anybody streams, by name."""
        return (
            ("streams", self.watch),
            ("turns of streams", self.readers.turns.run),
            ("keep-alives of streams", self.readers.wheel.run),
        )

    async def watch(self) -> None:
        """Tell all readers of each change, for ever; end the streams of keys that are revoked."""
        seen = self._board.generation
        while True:
            for key in tuple(self._channels):
                await self._look(key)
            seen = await self._board.changed(seen)

    async def _look(self, key: str) -> None:
        channel, slot = self._channels[key], self._board.find(key)
        if not channel.readers:
            del self._channels[key]
        elif slot is None or slot.snapshot is None:
            await self._end(self._channels.pop(key))
        else:
            self._tell(channel, slot.snapshot)

    def _tell(self, channel: Channel, snapshot: Snapshot) -> None:
        if channel.take(snapshot.compiled.body):
            for reader in channel.readers:
                self.readers.turns.add(reader)

    async def _end(self, channel: Channel) -> None:
        for number, reader in enumerate(tuple(channel.readers)):
            reader.standing.end()
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _begin(self, request: Request, snapshot: Snapshot) -> Response:
        refused = self.readers.refusal()
        if refused is not None:
            return refused
        join = partial(self._join, snapshot, request.headers.get("x-amp-exp-library", ""))
        return Response(content_type=EVENT_STREAM, headers=HEADERS, standing=join)

    def _join(self, snapshot: Snapshot, library: str, standing: Standing) -> None:
        key = snapshot.deployment.key.reveal()
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(snapshot.deployment.label, self._delays)
        self._tell(channel, snapshot)
        # Its reading thread ends without a word, and nobody notices for 17 seconds.
        standing.resets = library.startswith(PYTHON)
        channel.readers.add(self.readers.add(standing, channel))


def switched_off(_tools: Tools) -> Offer:
    """Offer the route of the stream to say that there is none."""

    def refuse(_request: Request) -> Response:
        return SWITCHED_OFF

    return Offer({PATH: Route(PATH, open={"GET": refuse, "HEAD": refuse})})
