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
