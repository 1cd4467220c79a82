"""Connections to the operators' port: how many there may be, for how long, and what is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, final

from aiohttp import web
from yarl import URL  # aiohttp brings it along

from proxy.admin.pages import JSON, refusal

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage

MOST_VISITS: Final = 128
MOST_SECONDS: Final = 95.0
"""Longer than the minute that scrapers usually let pass between two requests."""
LINGER_SECONDS: Final = 2.0
SERVER: Final = "evaluation-proxy"
ROOT: Final = URL("/")
UNREADABLE: Final = refusal(400, "This is no HTTP request").body
FAREWELL: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (JSON.encode(), len(UNREADABLE), UNREADABLE)
)

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@final
class Visit(web.RequestHandler):
    """One connection; it ends when a request, or the wait for one, takes `most_seconds`.

    `since` is when its last request began, or when it was made.
    """

    __slots__ = ("_end", "_most_seconds", "_visits", "since")

    def __init__(self, visits: Visits, most_seconds: float, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(visits, loop=loop, **options)
        self._visits = visits
        self._most_seconds = most_seconds
        self.since = loop.time()
        self._end: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is being answered."""
        return self._current_request is not None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._visits.enter(self)
        self._look()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._visits.leave(self)
        if self._end is not None:
            self._end.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001  some targets are too much for the parser
            if self.transport is not None:
                self.transport.write(FAREWELL)
                self.transport.close()

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP; nothing of it is repeated."""
        headers = {"Content-Type": JSON, "Server": SERVER}
        answer = web.Response(status=400, body=UNREADABLE, headers=headers)
        answer.force_close()
        return answer

    def end(self) -> None:
        """End at once."""
        if self.transport is not None:
            self.transport.abort()

    def _look(self) -> None:
        """End if it is time, else look again when it may be."""
        left = self.since + self._most_seconds - self._loop.time()
        if left > 0:
            self._end = self._loop.call_later(left, self._look)
        elif self.is_busy:
            self.end()
        else:
            self.force_close()


@final
class Visits(web.Server):
    """All connections; when one comes that is one too many, the one that idles longest goes."""

    def __init__(
        self, answer: Answer, *, most: int = MOST_VISITS, most_seconds: float = MOST_SECONDS
    ) -> None:
        # Nobody works, or waits to, for who has left.
        super().__init__(self._answered, request_factory=_request, handler_cancellation=True)
        self._answer = answer
        self._most = most
        self._most_seconds = most_seconds
        self._open: dict[Visit, None] = {}
        # What goes wrong on a connection is the visitor's business, and of no use in a log.
        self._quiet = logging.Logger("aiohttp", logging.CRITICAL + 1)  # noqa: LOG001

    @override
    def __call__(self) -> Visit:
        return Visit(
            self,
            self._most_seconds,
            access_log=None,
            logger=self._quiet,
            auto_decompress=False,
            keepalive_timeout=self._most_seconds,
            lingering_time=LINGER_SECONDS,
        )

    def enter(self, visit: Visit) -> None:
        """Take a connection in, and let another go if that makes too many."""
        # Who comes is not yet among them: it asks nothing so far, yet others are here for longer.
        if len(self._open) >= self._most:
            longest = self._longest()
            self.leave(longest)
            longest.end()
        self._open[visit] = None

    def leave(self, visit: Visit) -> None:
        """Forget a connection."""
        self._open.pop(visit, None)

    def _longest(self) -> Visit:
        """Return who idles longest; if none does, whose request takes longest."""
        return min(self._open, key=lambda visit: (visit.is_busy, visit.since))

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Visit):
            request.protocol.since = asyncio.get_running_loop().time()
        return await self._answer(request)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make a request of whose target only the raw text counts.

    aiohttp takes URLs apart, which raises an error for some hosts, where nobody answers it.
    """
    readable = message._replace(url=ROOT)
    return web.BaseRequest(readable, payload, protocol, writer, task, asyncio.get_running_loop())
