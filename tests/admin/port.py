"""An operators' port around whatever pages a test wants, and a client for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from proxy.admin.pages import Pages, Route
from proxy.admin.server import OperatorsServer
from proxy.admin.visits import Answer, Visits
from proxy.api.sockets import bind
from proxy.metrics import Metrics


class Port:
    """A port that is listened on."""

    def __init__(self, number: int, session: aiohttp.ClientSession) -> None:
        self.number = number
        self.session = session

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(path) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        async with self.session.post(path, data=body) as answer:
            return answer.status, await answer.json()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, raw: bytes) -> bytes:
        """Send bytes, and return all that is answered until the connection ends."""
        async with self.connection() as (reader, writer):
            writer.write(raw)
            return await rest(reader)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends, in whichever way."""
    answer = b""
    with suppress(ConnectionError):
        while part := await reader.read(65_536):
            answer += part
    return answer


@asynccontextmanager
async def port(
    routes: Mapping[str, Route] | None = None, visits: Callable[[Answer], Visits] = Visits
) -> AsyncIterator[Port]:
    """Serve pages on a free port until the block is left."""
    pages = Pages(
        Metrics().registry,
        metrics_path="metrics",
        is_ready=lambda: True,
        readiness=list,
        status=dict,
    )
    pages.add(routes or {})
    server = OperatorsServer(pages, visits=visits)
    bound = bind("127.0.0.1", 0)
    number = bound[0].getsockname()[1]
    await server.open(bound)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{number}") as session:
            yield Port(number, session)
    finally:
        await server.close()
