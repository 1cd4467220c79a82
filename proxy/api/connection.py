"""One client's connection: how long it may take, how much it may send, how it is seen off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage

from proxy.api import sockets
from proxy.api.garbage import HEADERS_TOO_LARGE, TOO_SLOW, verdict
from proxy.api.parsing import parser_for
from proxy.api.pauses import Pause
from proxy.api.sending import Farewell

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from proxy.api.doorman import Visitor
    from proxy.api.listener import Listener
    from proxy.api.messages import Response

LINGER_SECONDS = 1.0
MOST_AHEAD = 8
"""So many requests are read ahead of their answers; aiohttp's 32 take a millisecond to parse."""
SURPLUS_SECONDS = 2.0
"""So long a connection may take that is one too many."""
STATES = ("idle", "arriving", "busy", "held")

AtOnce = Callable[[RawRequestMessage, StreamReader, "Connection"], bytes | None]
"""Answer a request that came whole, or leave it (None) to be answered in its turn.

What was found until then may be left in `Connection.found_already`.
"""


class BodyBroken(Exception):
    """What was to be a body is not one."""


class Connection(web.RequestHandler):
    """aiohttp's connection, with bounds on the time and the size of a request's head.

    `owed` counts the requests that have arrived and are not answered yet; `closing` is true when
    no further one will be taken; `body` is the one that is being read; `unsent` is true while an
    answer waits in the outbox; `poured` counts the bytes of long answers that were written so far;
    `found_already` is the route of the only request that is owed an answer, and what it gave;
    `visitor` is how the doorman knows the client, None without a doorman; in a `pause` nothing is
    read from it; `trace` is what was decided of that request's tracing, None while nothing was.
    """

    __slots__ = (
        "_at_once", "_doorman", "_farewell", "_gone", "_head_bytes", "_head_since",
        "_most_head_bytes", "_outbox", "_stuck_at", "_stuck_since", "_wire", "body", "closing",
        "found_already", "last_used", "owed", "pause", "poured", "trace", "unsent", "visitor",
    )  # fmt: skip

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
        self._parser: Any = parser_for(self, loop, MOST_AHEAD, options)
        self._max_msg_queue_size, self._msg_queue_resume_size = MOST_AHEAD, MOST_AHEAD // 2
        self.owed = 0
        self.closing = False
        self.last_used = loop.time()
        self.body: StreamReader | None = None
        self.unsent = False
        self.poured = 0
        self.found_already: tuple[str, Any] | None = None
        self.visitor: Visitor | None = None
        self.trace: Any = None
        self._doorman = server.doorman
        self.pause = Pause(loop)
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
        if self._doorman is not None and self._wire is not None:
            self.visitor = self._doorman.enter(transport.get_extra_info("peername"), self.hold)
            if self.visitor.is_out:
                self._wire.abort()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._wire = None
        self.pause.cut_short()
        if self._doorman is not None and self.visitor is not None:
            self._doorman.leave(self.visitor)
            self.visitor = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def let_go(self) -> None:
        """Forget the transport, which somebody else has taken, and end without closing it."""
        self.transport = None
        # On uvloop a request may be here before the task is that would read further ones.
        if self._current_request is None and self._task_handler is not None:
            self._task_handler.cancel()
        self.connection_lost(None)

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
        return Farewell(self._farewell(verdict(status, exc, message)), self)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing has arrived that is still to be answered."""
        return not (self.owed or self._head_since or self.unsent or self.pause.is_on)

    @property
    def state(self) -> str:
        """What the connection does: `held`, `busy`, `arriving` or `idle`."""
        if self.pause.is_on:
            return "held"
        return "busy" if self.owed else "arriving" if self._head_since else "idle"

    def hold(self, seconds: float) -> None:
        """Do not listen to the client for so long: what it sends waits with its system."""
        if self._wire is not None:
            self.pause.begin(seconds, self._listen_again)
            self._pause_transport_reading()

    def _listen_again(self) -> None:
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    @override
    def _resume_transport_reading(self) -> None:
        if not self.pause.is_on:
            super()._resume_transport_reading()

    def answered(self, at: float) -> None:
        """Take note that the answer to the eldest request was written."""
        self.owed -= 1
        self.last_used = at

    def look(self, now: float, patience: float, idle_seconds: float) -> None:
        """End the connection when a head, the client's reading or its next request takes long."""
        if self._wire is None:
            return
        if self.visitor is not None and self.visitor.surplus:
            patience = idle_seconds = min(patience, SURPLUS_SECONDS)
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
