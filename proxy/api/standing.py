"""Connections that stay: answers without end, for a fraction of what a connection costs.

Once such a request was read, nothing of what reads requests is needed any more: no parser, task,
request or headers. What remains is the transport and one small object, which writes what it is
told and hears when that is on its way, or the client is gone.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, final

import msgspec
from aiohttp import HttpVersion11

from proxy import logs
from proxy.api import sockets
from proxy.api.connection import Connection
from proxy.api.garbage import BROKEN
from proxy.api.messages import Response, failure, unavailable
from proxy.api.portions import Portions, outlet_of
from proxy.api.wire import CLOSE

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from proxy.api.doorman import Doorman, Visitor
    from proxy.api.messages import Outflow
    from proxy.api.tally import Tally
    from proxy.api.wire import Wire

Asked = tuple[str, str, float]
"""A method, a route's name, and when the request was taken up."""

LINE_END = b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
LEAVING = unavailable("No stream begins here at the moment")
WITH_BODY = failure(400, "A request for a stream has no body")
FEWEST_ENDED = 10
RESET = struct.pack("@ii", 1, 0)


async def _nothing(_outflow: Outflow) -> None:
    """Write nothing."""


def chunk(data: bytes) -> bytes:
    """Return `data` framed as a chunk, as all standing connections take it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Keeper(Protocol):
    """Who writes to a standing connection."""

    def has_room(self) -> None:
        """Hear that all that was written is on its way."""

    def gone(self) -> None:
        """Hear that the client is gone, or was cut."""


class Opening(NamedTuple):
    """What it takes to begin an answer when the request itself is forgotten."""

    response: Response
    wire: Wire
    tally: Tally
    method: str
    route: str
    began: float
    is_chunked: bool

    def head(self) -> bytes:
        """Return the head of the answer, and count it."""
        self._count(self.response.status)
        ending = LINE_END if self.is_chunked else CLOSE
        return self.wire.stream_head(self.response, is_chunked=self.is_chunked, connection=ending)

    def refusal(self, response: Response) -> bytes:
        """Return another answer, the connection's last, and count it."""
        self._count(response.status)
        response = msgspec.structs.replace(response, grant=self.response.grant)
        return self.wire.encode(response, connection=CLOSE)

    def _count(self, status: int) -> None:
        self.tally.answered(self.method, self.route, status, perf_counter() - self.began)


@final
class Standing(asyncio.Protocol):
    """One such connection, from when its request was read; nothing is answered yet.

    `resets` makes its end a hard one, for clients that do not notice any other.
    """

    __slots__ = (
        "_crowd", "_is_chunked", "_keeper", "_opening", "_outlet", "_transport", "_visitor",
        "resets",
    )  # fmt: skip

    def __init__(self, opening: Opening, crowd: Crowd) -> None:
        self.resets = False
        self._opening: Opening | None = opening
        self._is_chunked = opening.is_chunked
        self._crowd = crowd
        self._keeper: Keeper | None = None
        self._visitor: Visitor | None = None
        self._transport: asyncio.Transport | None = None
        self._outlet: asyncio.Transport | Portions | None = None

    def take(self, connection: Connection) -> bool:
        """Take a connection from those that read requests; False when its client is gone."""
        transport = connection.transport
        if transport is None or transport.is_closing():
            return False
        self.stand_on(transport)
        self._visitor, connection.visitor = connection.visitor, None
        if self._visitor is not None:
            self._visitor.settle()
        connection.let_go()
        return True

    def stand_on(self, transport: asyncio.Transport) -> None:
        """Hear of all that happens to a transport from now on."""
        self._transport = transport
        self._crowd.add(self)
        transport.set_protocol(self)
        # So every write that does not go through at once is heard of, and the end of it.
        transport.set_write_buffer_limits(high=0)
        self._outlet = outlet_of(transport)
        sockets.stay_long(transport.get_extra_info("socket"))

    def keep(self, keeper: Keeper) -> None:
        """Tell `keeper` from now on what becomes of the connection."""
        self._keeper = keeper

    @property
    def is_open(self) -> bool:
        """Tell whether the client is still there."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """How much was written that is not on its way to the client yet."""
        return 0 if self._outlet is None else self._outlet.get_write_buffer_size()

    def begin(self, framed: bytes) -> None:
        """Send the head of the answer and the first chunk after it."""
        opening, self._opening = self._opening, None
        if opening is not None and self._outlet is not None and self.is_open:
            self._outlet.writelines((opening.head(), self._as_it_goes(framed)))

    def refuse(self, response: Response) -> None:
        """Answer something else instead, and close."""
        opening, self._opening = self._opening, None
        if opening is not None and self._transport is not None:
            self._transport.write(opening.refusal(response))
            self._transport.close()

    def put(self, framed: bytes) -> None:
        """Write a chunk at once and without waiting; nothing when the client is gone."""
        if self._outlet is not None and self.is_open:
            self._outlet.write(self._as_it_goes(framed))

    def end(self) -> None:
        """Say that this was all, and close; what was not answered yet is answered 503."""
        if self._opening is not None:
            self.refuse(LEAVING)
        elif self.resets:
            self._reset()
        elif self._transport is not None and self.is_open:
            if isinstance(self._outlet, Portions):
                self._outlet.finish()
            if self._is_chunked:
                self._transport.write(LAST_CHUNK)
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection; what is unread is lost."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def resume_writing(self) -> None:
        if isinstance(self._outlet, Portions) and self._outlet.go_on():
            return
        if self._keeper is not None:
            self._keeper.has_room()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._outlet = None
        self._opening = None
        self._crowd.remove(self, self._visitor)
        if self._keeper is not None:
            self._keeper.gone()
            self._keeper = None

    def _reset(self) -> None:
        if self._transport is not None:
            with suppress(OSError, AttributeError):
                self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            self._transport.abort()

    def _as_it_goes(self, framed: bytes) -> bytes | memoryview:
        if self._is_chunked:
            return framed
        # HTTP/1.0 knows no chunks.
        return memoryview(framed)[framed.index(LINE_END) + len(LINE_END) : -len(LINE_END)]


@final
class Crowd:
    """All standing connections of the clients' port; a doorman counts them like all others."""

    def __init__(self, wire: Wire, tally: Tally) -> None:
        self.doorman: Doorman | None = None
        self._wire = wire
        self._tally = tally
        self._open: set[Standing] = set()
        self._ending: set[Standing] = set()
        self._log = logs.get("api")

    def __len__(self) -> int:
        return len(self._open) + len(self._ending)

    def take(
        self, response: Response, route: str, began: float, request: BaseRequest
    ) -> Response | None:
        """Hand the request's connection to who keeps it; or return what to answer instead."""
        assert isinstance(request.protocol, Connection)
        if request.method == "HEAD":
            return msgspec.structs.replace(response, standing=None, stream=_nothing)
        if not request.content.is_eof():
            return WITH_BODY
        asked = request.method, route, began
        is_chunked = request.version >= HttpVersion11
        self._admit(response, asked, request.protocol, is_chunked=is_chunked)
        return None

    def admit_at_once(self, response: Response, asked: Asked, connection: Connection) -> bytes:
        """Hand over a connection whose request came whole; return what to write now: nothing."""
        self._admit(response, asked, connection, is_chunked=True)
        return b""

    def _admit(
        self, response: Response, asked: Asked, connection: Connection, *, is_chunked: bool
    ) -> None:
        assert response.standing is not None
        standing = Standing(
            Opening(response, self._wire, self._tally.for_later(), *asked, is_chunked), self
        )
        try:
            if standing.take(connection):
                response.standing(standing)
        except Exception:  # noqa: BLE001  no bug may leave a client without an answer
            self._log.exception("request failed")
            standing.refuse(BROKEN)

    def add(self, one: Standing) -> None:
        """Count one more."""
        self._open.add(one)

    def remove(self, one: Standing, visitor: Visitor | None) -> None:
        """Count one less."""
        self._open.discard(one)
        self._ending.discard(one)
        if self.doorman is not None and visitor is not None:
            self.doorman.leave(visitor)

    def thin_out(self, calls_left: float) -> None:
        """End as many as it takes to have ended all within so many more calls; a few at least.

        Whoever is sent away goes to another instance at once: not all of them in one moment.
        """
        wanted = max(FEWEST_ENDED, int(len(self._open) / max(calls_left, 1.0)) + 1)
        for _ in range(min(wanted, len(self._open))):
            one = self._open.pop()
            self._ending.add(one)
            one.end()

    async def cut_off(self) -> None:
        """Cut all now, whatever they have not read."""
        for one in (*self._open, *self._ending):
            one.abort()
        # The transports tell of it in the next turn of the loop.
        await asyncio.sleep(0)
