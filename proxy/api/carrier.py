"""Carries requests from HTTP to the router and its answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from proxy import logs
from proxy.api.bodies import awaited_body
from proxy.api.connection import Connection
from proxy.api.limits import inflate
from proxy.api.messages import Response, refuse
from proxy.api.packing import Packer, accepts_gzip
from proxy.api.pauses import Turnstile
from proxy.api.routes import OTHER, Exchange, Router
from proxy.api.sending import CLOSED, STAYED, send, send_long, write
from proxy.api.standing import LEAVING, Crowd
from proxy.api.streamed import StreamedBody
from proxy.api.uploads import Upload, busy
from proxy.api.wire import CLOSE, EMPTY, STAY, Wire
from proxy.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import StreamReader
    from aiohttp.http_parser import RawRequestMessage

    from proxy.api.downloads import Downloads, Source
    from proxy.api.tally import Tally
    from proxy.tasks import Clock

LONGEST_COMMIT_SECONDS = 1.0
LONG_BYTES = 65_536

Durable = Callable[[], Awaitable[bool] | None]
"""Give what ends when all that was tracked is on disk, or cannot be; None: nothing to wait for."""


class Carrier:
    """Reads requests, has them answered, writes the answers.

    While `leaving`, every answer asks its client to connect anew next time. `crowd` holds the
    connections that stay, and on which no further request will be read.
    """

    def __init__(
        self,
        router: Router,
        downloads: Downloads,
        tally: Tally,
        clock: Clock,
        *,
        durable: Durable | None = None,
    ) -> None:
        self.leaving = False
        self.last_request = 0.0
        self._router = router
        self._downloads = downloads
        self._tally = tally
        self._wire = Wire(clock)
        self.take_cors()
        self.crowd = Crowd(self._wire, tally)
        self._packer = Packer()
        self._turnstile = Turnstile()
        self._durable = durable
        self._terms = router.in_force
        self._log = logs.get("api")

    def take_cors(self) -> None:
        """Let pages read answers as the router says from now on."""
        cors = self._router.cors
        self._cors = cors if cors.is_selective else None
        self._wire.otherwise = cors.otherwise

    def at_once(
        self, message: RawRequestMessage, payload: StreamReader, connection: Connection
    ) -> bytes | None:
        """Return the answer to a request that is here as a whole; None if anything has to wait."""
        headers = message.headers
        if (
            self.leaving
            or message.should_close
            or message.upgrade
            or message.version != HttpVersion11
            or not payload.is_eof()
        ):
            return None
        began = perf_counter()
        method = message.method
        route, found = self._router.begin(method, message.path, headers, connection.visitor)
        if isinstance(found, Exchange) and self._durable is None:
            found = self._finish(found, payload, headers)
        if not isinstance(found, Response) or found.needs_its_turn:
            is_plain = self._cors is None and method == "GET"
            if is_plain and isinstance(found, Response) and found.standing is not None:
                return self.crowd.admit_at_once(found, (method, route, began), connection)
            connection.found_already = route, found
            return None
        if self._packer.is_worth_it(found):
            is_long = len(found.body) >= LONG_BYTES
            if is_long or accepts_gzip(headers.get("accept-encoding")):
                connection.found_already = route, found
                return None
            found = self._packer.plain(found)
        if self._cors is not None:
            found = self._cors.decide(found, method, headers)
        self._tally.answered(method, route, found.status, perf_counter() - began)
        return self._wire.encode(found, with_body=method != "HEAD")

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request in its turn, reading its body if it has one."""
        began = perf_counter()
        connection = request.protocol
        assert isinstance(connection, Connection)
        route, found = await self._found(request, connection)
        if found.standing is not None:
            instead = LEAVING if self.leaving else self.crowd.take(found, route, began, request)
            if instead is None:
                return CLOSED
            found = instead
        source = None
        if found.stored is not None:
            accepted = request.headers.get("accept-encoding")
            found, source = await self._downloads.begin(found, found.stored, accepted)
        elif found.stream is None and self._packer.is_worth_it(found):
            found = await self._packer.answer(found, request.headers.get("accept-encoding"))
        stays = (
            request.keep_alive
            and not self.leaving
            and request.content.is_eof()
            and not found.closes
            and (found.stream is None or request.version >= HttpVersion11)
        )
        ending = CLOSE if not stays else STAY if request.version < HttpVersion11 else EMPTY
        self._tally.answered(request.method, route, found.status, perf_counter() - began)
        if source is not None:
            head = self._wire.head(found, source.length, connection=ending)
            stays = await self._send_stored(head, source, request, connection) and stays
        elif found.stream is not None:
            stays = await self._send_stream(found, request, connection, ending) and stays
        elif len(found.body) >= LONG_BYTES and request.method != "HEAD":
            head = self._wire.head(found, len(found.body), connection=ending)
            stays = await self._send_long(head, found.body, request, connection) and stays
        else:
            raw = self._wire.encode(found, with_body=request.method != "HEAD", connection=ending)
            stays = await send(raw, request, connection) and stays
        self.last_request = asyncio.get_running_loop().time()
        if not stays:
            return CLOSED
        connection.answered(self.last_request)
        return STAYED

    def close(self) -> None:
        """Let go of the threads that read from disk."""
        self._downloads.close()

    def refusal(self, response: Response) -> bytes:
        """Return the last answer of a connection whose request never became one."""
        self._tally.reject(response.status)
        self._tally.answered(OTHER, OTHER, response.status, 0.0)
        return self._wire.encode(response, connection=CLOSE)

    async def _found(
        self, request: web.BaseRequest, connection: Connection
    ) -> tuple[str, Response]:
        """Return the route's name and what it answers, once all is here that it takes."""
        if connection.owed > 1:
            await self._turnstile.turn()
        await connection.pause.over()
        route, found = connection.found_already or self._router.begin(
            request.method, request.raw_path, request.headers, connection.visitor
        )
        connection.found_already = None
        if isinstance(found, Exchange):
            found = await self._finish_in_time(found, request, connection)
            await self._until_durable()
        elif isinstance(found, Upload):
            found = await self._answer_upload(found, request, connection)
        if found.later is not None:
            found = await self._router.wait(found)
            await self._until_durable()
        if self._cors is not None:
            found = self._cors.decide(found, request.method, request.headers)
        return route, found

    async def _send_stored(
        self, head: bytes, source: Source, request: web.BaseRequest, connection: Connection
    ) -> bool:
        """Send a head and the stored body after it; return whether all of it is on its way.

        If not, the connection has to end: by that the client knows that its part is not the whole.
        """

        async def pour(piece: bytes) -> None:
            connection.poured += len(piece)
            await write(piece, request, connection)

        try:
            connection.expect_long_answer()
            await write(head, request, connection)
            if request.method != "HEAD":
                await self._downloads.send(source, pour)
        except ConnectionError:
            return False
        finally:
            self._downloads.end(source)
        return True

    async def _send_long(
        self, head: bytes, body: bytes, request: web.BaseRequest, connection: Connection
    ) -> bool:
        connection.expect_long_answer()
        return await send(head, request, connection) and await send_long(body, request, connection)

    async def _send_stream(
        self, found: Response, request: web.BaseRequest, connection: Connection, ending: bytes
    ) -> bool:
        """Send a head and what its stream writes; return whether the connection may go on."""
        assert found.stream is not None
        is_chunked = request.version >= HttpVersion11
        outflow = StreamedBody(connection, is_chunked=is_chunked)
        head = self._wire.stream_head(found, is_chunked=is_chunked, connection=ending)
        try:
            await write(head, request, connection)
            if request.method != "HEAD":
                await found.stream(outflow)
                await self._until_durable()
                outflow.finish()
        except ConnectionError:
            return False
        except Exception:  # noqa: BLE001  no bug may end the connection's task
            self._log.exception("answer broke off")
            outflow.abort()
            return False
        return is_chunked and outflow.is_open

    async def _finish_in_time(
        self, exchange: Exchange, request: web.BaseRequest, connection: Connection
    ) -> Response:
        content = request.content
        if content.is_eof() or request.method != "POST":
            return self._finish(exchange, content, request.headers)
        try:
            most = self._terms.limits.max_body_bytes
            body = await awaited_body(request, connection, most, self._terms.patience)
        except BadRequest as mistake:
            return self._tally.refused(mistake)
        return self._finish_with(exchange, body, request.headers)

    async def _answer_upload(
        self, upload: Upload, request: web.BaseRequest, connection: Connection
    ) -> Response:
        try:
            patience = self._terms.patience
            with upload.uploads.holding(upload.held) as has_room:
                if not has_room:
                    return busy()
                body = await awaited_body(request, connection, upload.most_bytes, patience)
                return await upload.uploads.answer(upload, body, request.headers, request.remote)
        except BadRequest as mistake:
            return self._tally.refused(mistake)

    async def _until_durable(self) -> None:
        waiting = None if self._durable is None else self._durable()
        if waiting is None:
            return
        is_safe = False
        # A disk that hangs must not silence us.
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_COMMIT_SECONDS):
                is_safe = await waiting
        if not is_safe:
            self._tally.answered_unsafely()

    def _finish(
        self, exchange: Exchange, content: StreamReader, headers: Mapping[str, str]
    ) -> Response:
        if exchange.request.method != "POST":
            return self._router.finish(exchange)
        return self._finish_with(exchange, content.read_nowait(), headers)

    def _finish_with(self, exchange: Exchange, body: bytes, headers: Mapping[str, str]) -> Response:
        try:
            if len(body) > self._terms.limits.max_body_bytes:
                refuse("Body too large", 413)
            encoding = headers.get("content-encoding")
            if encoding and body:
                body = inflate(body, encoding, self._terms.limits.max_inflated_bytes)
        except BadRequest as mistake:
            return self._tally.refused(mistake)
        return self._router.finish(exchange, body)
