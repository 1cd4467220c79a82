"""A clients' port that streams flags; and standing connections whose other end a test holds."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from proxy import tasks
from proxy.api.features import Offer, Tools
from proxy.api.messages import Response
from proxy.api.standing import Crowd, Opening, Standing
from proxy.api.stream_variants import VariantStreams
from proxy.api.streams import EVENT_STREAM, PATH, FlagStreams
from proxy.api.tally import Tally
from proxy.api.wire import Wire
from proxy.metrics import Metrics
from proxy.settings.schema import Settings, Streams
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Served, serving

OLD = builders.snapshot([flag("old")])
NEW = builders.snapshot([flag("new")])
KEEP_ALIVE = b"data:  \n\n"


def settings(**streams: Any) -> Settings:
    return builders.settings(streams=Streams(**streams))


class Streaming(NamedTuple):
    served: Served
    streams: FlagStreams
    variants: VariantStreams

    @asynccontextmanager
    async def stream(self, path: str = PATH, **headers: str) -> AsyncIterator["Client"]:
        """A client of a stream that has sent its request and read nothing."""
        lines = {"Host": "proxy", "Authorization": f"Api-Key {KEY}"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        async with self.served.connection() as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
            yield Client(reader, writer)


class Client(NamedTuple):
    """A client that takes chunks apart, and nothing else."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> str:
        async with asyncio.timeout(30):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def chunk(self) -> bytes:
        """Return the next chunk; empty for the one that ends the answer."""
        async with asyncio.timeout(30):
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def message(self) -> bytes:
        """Return the next message that is no keep-alive."""
        while (chunk := await self.chunk()) == KEEP_ALIVE:
            pass
        return chunk


@asynccontextmanager
async def streaming(
    flags: list[dict[str, Any]] | None = None, settings: Settings | None = None, **served_by: Any
) -> AsyncIterator[Streaming]:
    """Serve flags and stream them until the block is left."""
    made: list[tuple[FlagStreams, VariantStreams]] = []

    def feature(tools: Tools) -> Offer:
        ours = FlagStreams(tools.board, tools.settings.streams, tools.metrics)
        theirs = VariantStreams(tools.board, ours.readers, tools.settings)
        made.append((ours, theirs))
        return Offer({**ours.offer(tools).exact, **theirs.offer(tools).exact})

    given = [flag("old")] if flags is None else flags
    async with serving(given, settings, features=[feature], **served_by) as served:
        ((ours, theirs),) = made
        loops = [*ours.loops(), ("variants", theirs.watch)]
        running = [tasks.start(name, body()) for name, body in loops]
        try:
            yield Streaming(served, ours, theirs)
        finally:
            await tasks.stop(*running)


def message(body: bytes) -> bytes:
    return b"data: %b\n\n" % body


class Line(asyncio.Transport):
    """A connection in memory: what was written, and how much of it the other end has room for."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""
        self.unread = b""
        self.room = 1 << 40
        self.ended = ""
        self._protocol: Any = None
        self._is_closing = False

    def chunks(self) -> list[bytes]:
        """What the other end has taken, and forget it: the chunks behind the head."""
        found = re.findall(rb"[0-9a-f]+\r\n(data: .*?\n\n)\r\n", self.taken, re.DOTALL)
        self.taken = b""
        return found

    def read(self, room: int = 1 << 40) -> None:
        """Make room for so many bytes at the other end."""
        was_full = bool(self.unread)
        self.room = room
        self._move()
        if was_full and not self.unread:
            self._protocol.resume_writing()
        self._close_if_all_is_taken()

    def hang_up(self) -> None:
        """Be gone."""
        self._end("left")

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def write(self, data: Any) -> None:
        assert not self.ended
        self.unread += bytes(data)
        self._move()

    def writelines(self, data: Any) -> None:
        self.write(b"".join(data))

    def is_closing(self) -> bool:
        return self._is_closing or bool(self.ended)

    def close(self) -> None:
        self._is_closing = True
        self._close_if_all_is_taken()

    def abort(self) -> None:
        self._end("aborted")

    def _move(self) -> None:
        self.taken += self.unread[: self.room]
        moved = min(len(self.unread), self.room)
        self.unread, self.room = self.unread[moved:], self.room - moved

    def _close_if_all_is_taken(self) -> None:
        if self._is_closing and not self.unread:
            self._end("closed")

    def _end(self, how: str) -> None:
        if not self.ended:
            self.ended = how
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Lines:
    """Makes standing connections in memory, as the clients' port makes them of real ones."""

    def __init__(self, metrics: Metrics) -> None:
        wire, tally = Wire(tasks.wall_clock), Tally(metrics)
        self.crowd = Crowd(wire, tally)
        response = Response(content_type=EVENT_STREAM)
        self._opening = Opening(response, wire, tally, "GET", PATH, 0.0, is_chunked=True)

    def connect(self) -> tuple[Line, Standing]:
        line, standing = Line(), Standing(self._opening, self.crowd)
        standing.stand_on(line)
        return line, standing
