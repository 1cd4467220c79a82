"""The clients' port on aiohttp's low level: reads requests, writes answers, leaves tidily."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import web

from proxy import logs, tasks
from proxy.api import sockets
from proxy.api.connection import BodyBroken, Connection, Listener, Written
from proxy.api.limits import inflate
from proxy.api.messages import Response, failure, refuse
from proxy.api.packing import Packer
from proxy.api.routes import OTHER, Exchange, Router
from proxy.api.wire import CLOSE, CONTINUE, STAY, Wire
from proxy.errors import BadRequest

if TYPE_CHECKING:
    import socket

    from aiohttp import StreamReader

    from proxy.api.tally import Tally
    from proxy.settings.schema import Settings

BACKLOG = 2048
MOST_HEADERS = 256
QUIET_SECONDS = 0.5
HANDSHAKE_SECONDS = 0.1
POLL_SECONDS = 0.02
NO_EXPECTATION = failure(417, "Expectation failed")
EMPTY = b"\r\n"


class ClientServer:
    """Serves the routes on bound sockets until it is drained."""

    def __init__(
        self, router: Router, settings: Settings, tally: Tally, clock: tasks.Clock
    ) -> None:
        limits = settings.limits
        self._router = router
        self._tally = tally
        self._wire = Wire(clock)
        self._packer = Packer()
        self._most_body_bytes = limits.max_body_bytes
        self._most_inflated_bytes = limits.max_inflated_bytes
        self._most_header_bytes = limits.max_header_bytes
        self._patience = limits.request_timeout_millis / 1000
        self._idle_seconds = limits.idle_timeout_millis / 1000
        self._log = logs.get("api")
        self._quiet = logging.Logger("aiohttp", logging.CRITICAL + 1)  # noqa: LOG001  nobody's child
        self._stay = Written(keep_alive=True)
        self._close = Written(keep_alive=False)
        self._leaving = False
        self._last_request = 0.0
        self._listener: Listener | None = None
        self._listening: list[tuple[asyncio.Server, socket.socket]] = []
        self._watch: asyncio.Task[None] | None = None

    async def open(self, bound: list[socket.socket]) -> None:
        """Listen on sockets that are bound already; they belong to the server from now on."""
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._serve, self._connection)
        for listening in bound:
            server = await loop.create_server(self._listener, sock=listening, backlog=BACKLOG)
            self._listening.append((server, listening))
        self._watch = tasks.start("watcher of slow connections", self._watch_connections())

    def connections_open(self) -> int:
        """Return how many clients are connected."""
        return len(self._connections())

    def connections_busy(self) -> int:
        """Return on how many connections a request is under way."""
        return sum(connection.busy for connection in self._connections())

    def leave(self) -> None:
        """Ask each client that comes from now on to connect anew next time."""
        self._leaving = True

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Answer what comes until it is quiet, stop accepting, see the last ones off; then close.

        Takes at most `seconds`, half of them to get quiet. `hurry` cuts it short.
        """
        began = asyncio.get_running_loop().time()
        self.leave()
        await self._until_quiet(began + seconds / 2, hurry)
        await self._stop_accepting(hurry)
        await self._see_off(began + seconds, hurry)
        await self.close()

    async def close(self) -> None:
        """Close everything now."""
        if self._watch is not None:
            await tasks.stop(self._watch)
        for server, _ in self._listening:
            server.close()
        self._listening.clear()
        if self._listener is not None:
            if busy := self.connections_busy():
                self._log.warning("requests cut off", requests=busy)
            await self._listener.shutdown(POLL_SECONDS)

    async def _until_quiet(self, deadline: float, hurry: asyncio.Event) -> None:
        """Wait until no request has come for a while; those that come are asked to connect anew."""
        now = asyncio.get_running_loop().time
        quiet = now() + QUIET_SECONDS
        while now() < min(quiet, deadline) and not hurry.is_set():
            await tasks.wait_for_event(hurry, POLL_SECONDS)
            quiet = max(quiet, self._last_request + QUIET_SECONDS)

    async def _see_off(self, deadline: float, hurry: asyncio.Event) -> None:
        """Wait for the last requests; close connections on which nothing came for a while.

        Closing one at once could cross a request that is on its way.
        """
        now = asyncio.get_running_loop().time
        while self.connections_open() and now() < deadline and not hurry.is_set():
            for connection in self._connections():
                if connection.is_idle and now() - connection.last_used >= QUIET_SECONDS:
                    connection.force_close()
            await tasks.wait_for_event(hurry, POLL_SECONDS)

    async def _stop_accepting(self, hurry: asyncio.Event) -> None:
        ignored = [sockets.let_nobody_new_in(listening) for _, listening in self._listening]
        if any(ignored):
            await tasks.wait_for_event(hurry, HANDSHAKE_SECONDS)
        for server, _ in self._listening:
            server.close()
        self._listening.clear()

    def _connections(self) -> list[Connection]:
        open_ones = [] if self._listener is None else self._listener.connections
        return [each for each in open_ones if isinstance(each, Connection)]

    def _connection(self, server: web.Server) -> Connection:
        return Connection(
            server,
            self._refusal,
            self._most_header_bytes + self._most_header_bytes,
            keepalive_timeout=self._idle_seconds,
            access_log=None,
            logger=self._quiet,
            max_line_size=self._most_header_bytes,
            max_field_size=self._most_header_bytes,
            max_headers=MOST_HEADERS,
            lingering_time=2.0,
            auto_decompress=False,
        )

    def _refusal(self, response: Response) -> bytes:
        """Return the last answer of a connection whose request never came to a handler."""
        self._tally.reject(response.status)
        self._tally.answered(OTHER, response.status, 0.0)
        return self._wire.encode(response, connection=CLOSE)

    async def _watch_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._patience / 4))
            for connection in self._connections():
                connection.look(loop.time(), self._patience)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began = perf_counter()
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.busy = True
        route, found = self._router.begin(request.method, request.raw_path, request.headers)
        if isinstance(found, Exchange):
            if request.method == "POST":
                found = await self._with_body(found, request, connection)
            else:
                found = self._router.finish(found)
        if self._packer.is_worth_it(found):
            found = await self._packer.answer(found, request.headers.get("accept-encoding"))
        stays = request.keep_alive and not self._leaving and request.content.is_eof()
        raw = self._wire.encode(
            found,
            with_body=request.method != "HEAD",
            connection=CLOSE if not stays else STAY if request.version < (1, 1) else EMPTY,
        )
        self._tally.answered(route, found.status, perf_counter() - began)
        # A client that is gone already raises ConnectionError, which aiohttp takes for what it is.
        await request.writer.write(raw)
        if connection.writing_paused:
            await request.writer.drain()
        connection.busy = False
        connection.last_used = self._last_request = connection.now()
        return self._stay if stays else self._close

    async def _with_body(
        self, exchange: Exchange, request: web.BaseRequest, connection: Connection
    ) -> Response:
        try:
            body = await self._body(request, connection)
        except BadRequest as mistake:
            self._tally.reject(mistake.status)
            return failure(mistake.status, mistake.reason)
        return self._router.finish(exchange, body)

    async def _body(self, request: web.BaseRequest, connection: Connection) -> bytes:
        content = request.content
        if content.is_eof():
            body = content.read_nowait()
            if len(body) > self._most_body_bytes:
                refuse("Body too large", 413)
        else:
            body = await self._awaited_body(request, connection)
        encoding = request.headers.get("content-encoding")
        return inflate(body, encoding, self._most_inflated_bytes) if encoding and body else body

    async def _awaited_body(self, request: web.BaseRequest, connection: Connection) -> bytes:
        length = request.content_length
        if length is not None and length > self._most_body_bytes:
            refuse("Body too large", 413)
        expected = request.headers.get("expect")
        if expected is not None:
            if expected.lower() != "100-continue":
                refuse("Expectation failed", 417)
            await request.writer.write(CONTINUE)
        connection.body = request.content
        try:
            async with asyncio.timeout(self._patience):
                return await self._read(request.content)
        except TimeoutError:
            refuse("The request took too long to arrive", 408)
        except (BodyBroken, ConnectionError, web.RequestPayloadError):
            refuse("The body is broken")
        finally:
            connection.body = None

    async def _read(self, content: StreamReader) -> bytes:
        parts: list[bytes] = []
        room = self._most_body_bytes
        while part := await content.readany():
            parts.append(part)
            room -= len(part)
            if room < 0:
                refuse("Body too large", 413)
        return b"".join(parts)
