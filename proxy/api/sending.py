"""Bytes of answers on their way to a client, past aiohttp's own writing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aiohttp import web

if sys.version_info >= (3, 12):
    from typing import override
else:  # aiohttp brings it along
    from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from proxy.api.connection import Connection

PIECE = 65_536


class Written(web.StreamResponse):
    """What is handed to aiohttp when the answer is on its way already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._stays = keep_alive

    @property
    @override
    def keep_alive(self) -> bool:
        return self._stays

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Do nothing: there is nothing left to do."""
        return request.writer

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: there is nothing left to do."""


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


STAYED = Written(keep_alive=True)
CLOSED = Written(keep_alive=False)


async def write(raw: bytes, request: web.BaseRequest, connection: Connection) -> None:
    """Write and, when the client is slow, wait; ConnectionError when it is gone."""
    await request.writer.write(raw)
    if connection.writing_paused:
        await request.writer.drain()


async def send(raw: bytes, request: web.BaseRequest, connection: Connection) -> bool:
    """Send an answer; return whether the client is still there, which is no error of ours."""
    try:
        await write(raw, request, connection)
    except ConnectionError:
        return False
    return True


async def send_long(raw: bytes, request: web.BaseRequest, connection: Connection) -> bool:
    """Send a long body, of which there is one, however many clients take it slowly.

    Encrypted, each client has a copy of its own: it is made in small pieces, when there is room.
    """
    transport = connection.transport
    if transport is None or transport.get_extra_info("sslcontext") is None:
        return await send(raw, request, connection)
    transport.set_write_buffer_limits(PIECE)
    for start in range(0, len(raw), PIECE):
        if not await send(raw[start : start + PIECE], request, connection):
            return False
        connection.poured += PIECE
    return True
