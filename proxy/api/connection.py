"""One client's connection: how long it may take, how much it may send, how it is seen off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage

from proxy import logs
from proxy.api import sockets
from proxy.api.messages import Response, failure
from proxy.api.outbox import Outbox
from proxy.api.parsing import WatchedParser, request_of

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

HEADERS_TOO_LARGE = failure(431, "Request header fields too large")
NOT_HTTP = failure(400, "Not a valid HTTP request")
TOO_SLOW = failure(408, "The request took too long to arrive")
BROKEN = failure(500, "Internal error")
LINGER_SECONDS = 1.0

AtOnce = Callable[[RawRequestMessage, StreamReader, "Connection"], bytes | None]
"""Answer a request that came whole, or leave it (None) to be answered in its turn.

What was found until then may be left in `Connection.found_already`.
"""


class BodyBroken(Exception):
    """What was to be a body is not one."""


class Farewell(web.Response):
    """An answer after which the connection is closed; it stays until the client has read it."""

    def __init__(self, raw: bytes, connection: Connection) -> None:
        super().__init__()
        self._raw = raw
        self._connection = connection

    @property
    @override
    def keep_alive(self) -> bool:
        return False

    @override
    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the bytes as they are."""
        await request.writer.write(self._raw)

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        """Wait a moment, so that what is still arriving does not reset the connection."""
        await self._connection.linger()


class Listener(web.Server):
    """aiohttp's server, with connections of our kind."""

    def __init__(self, handle: Callable[..., object], make: Callable[..., Connection]) -> None:
        super().__init__(handle, request_factory=request_of)  # type: ignore[arg-type]
        self.outbox = Outbox()
        self._make = make

    @override
    def __call__(self) -> Connection:
        return self._make(self)


class Connection(web.RequestHandler):
    """aiohttp's connection, with bounds on the time and the size of a request's head.

    `owed` counts the requests that have arrived and are not answered yet; `closing` is true when
    no further one will be taken; `body` is the one that is being read; `unsent` is true while an
    answer waits in the outbox; `poured` counts the bytes of long answers that were written so far;
    `found_already` is the route of the only request that is owed an answer, and what it gave.
    """

    __slots__ = (
        "_at_once",
        "_farewell",
        "_gone",
        "_head_bytes",
        "_head_since",
        "_most_head_bytes",
        "_outbox",
        "_stuck_at",
        "_stuck_since",
        "_wire",
        "body",
        "closing",
        "found_already",
        "last_used",
        "owed",
        "poured",
        "unsent",
    )

    def __init__(
        self,
        server: Listener,
        at_once: AtOnce,
        farewell: Callable[[Response], bytes],
        most_head_bytes: int,
        **options: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, **options)
        self._parser: Any = WatchedParser(self._parser, self)
        self.owed = 0
        self.closing = False
        self.last_used = loop.time()
        self.body: StreamReader | None = None
        self.unsent = False
        self.poured = 0
        self.found_already: tuple[str, Any] | None = None
        self._outbox = server.outbox
        self._at_once = at_once
        self._farewell = farewell
        self._most_head_bytes = most_head_bytes
        self._head_bytes = 0
        self._head_since = 0.0
        self._stuck_at = (0, 0)
        self._stuck_since = 0.0
        self._wire: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = self.transport

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._wire = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    async def gone(self) -> None:
        """Wait until the client is gone."""
        if self._wire is None:
            return
        if self._gone is None:
            self._gone = self._loop.create_future()
        await asyncio.shield(self._gone)

    async def drained(self) -> None:
        """Wait until the client has read most of what was written; ConnectionError if it left."""
        await self._drain_helper()

    @override
    def data_received(self, data: bytes) -> None:
        if not self.closing:
            super().data_received(data)

    def found(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]]) -> bool:
        """Take note of requests; return whether all was answered at once.

        That saves a plain request the way through a task and a queue, a third of its cost. It may
        not overtake another, nor add to what the client has not read yet.
        """
        self._head_bytes = 0
        self._head_since = 0.0
        if not self.owed and len(messages) == 1 and not self.writing_paused and self._wire:
            raw = self._at_once(*messages[0], self)
            if raw is not None:
                self._outbox.put(self, raw)
                self.last_used = self._loop.time()
                return True
        self._send_first()
        self.owed += len(messages)
        return False

    def send(self, raw: bytes) -> None:
        """Write an answer out of the outbox, if the client is still there."""
        self.unsent = False
        if self._wire is not None:
            self._wire.write(raw)

    @override
    def eof_received(self) -> None:
        # The client may only have ended its own side, and the connection is closed after this.
        self._send_first()
        super().eof_received()

    def _send_first(self) -> None:
        """Let nothing overtake what waits in the outbox."""
        if self.unsent:
            self._outbox.flush()

    def found_nothing(self, size: int) -> None:
        """Take note of `size` bytes that complete no request: a part of a head, or of a body."""
        if self.owed:
            return
        self._head_bytes += size
        if not self._head_since:
            self._head_since = self._loop.time()
        if self._head_bytes > self._most_head_bytes:
            self._hang_up(HEADERS_TOO_LARGE)

    def found_garbage(self) -> None:
        """Take note that what came is no HTTP; an answer to that is owed, too."""
        self._send_first()
        self.owed += 1
        self._head_since = 0.0
        if self.body is not None:
            self.body.set_exception(BodyBroken())

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP; nothing of it is repeated, in the answer or in the log."""
        if status != 400:
            logs.get("api").error("request failed", exc_info=exc)
            response = BROKEN
        elif isinstance(exc, LineTooLong) or (message and "Too many headers" in message):
            response = HEADERS_TOO_LARGE
        else:
            response = NOT_HTTP
        return Farewell(self._farewell(response), self)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing has arrived that is still to be answered."""
        return not self.owed and not self._head_since and not self.unsent

    def answered(self, at: float) -> None:
        """Take note that the answer to the eldest request was written."""
        self.owed -= 1
        self.last_used = at

    def look(self, now: float, patience: float, idle_seconds: float) -> None:
        """End the connection when a head, the client's reading or its next request takes long."""
        if self._wire is None:
            return
        if self._head_since and now - self._head_since > patience:
            self._hang_up(TOO_SLOW)
            return
        stuck = self._wire.get_write_buffer_size()
        # A long answer may happen to have as much of it unread each time, and yet go on.
        stuck_at = (stuck, self.poured)
        if stuck_at != self._stuck_at:
            self._stuck_at = stuck_at
            self._stuck_since = now
        elif stuck and now - self._stuck_since > patience:
            self._wire.abort()
        elif self.is_idle and now - self.last_used > idle_seconds:
            self.force_close()

    def expect_long_answer(self) -> None:
        """Let what is written move along with what the client reads, in steps that are small."""
        if self._wire is not None:
            sockets.leave_little_unsent(self._wire.get_extra_info("socket"))

    async def linger(self) -> None:
        """Say that nothing more will be sent, and take in what still comes for a moment."""
        self.closing = True
        transport = self.transport
        if transport is None:
            return
        with suppress(OSError, NotImplementedError):
            transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self.gone()

    def _hang_up(self, response: Response) -> None:
        """Answer a request that never became complete, and close."""
        self.closing = True
        self._head_since = 0.0
        if self._wire is None:
            return
        self._wire.write(self._farewell(response))
        # Closing at once would reset the connection under an answer that is not read yet.
        with suppress(OSError, NotImplementedError, RuntimeError):
            self._wire.write_eof()
        self._loop.call_later(LINGER_SECONDS, self.force_close)
