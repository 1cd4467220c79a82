"""A session for who must not ask anybody: the last line of defence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn, final

import aiohttp


@final
class _Refusing(aiohttp.TCPConnector):
    async def connect(self, *_: object, **__: object) -> NoReturn:
        raise aiohttp.ClientConnectionError("this proxy is offline")


@asynccontextmanager
async def open_no_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that never opens a connection: every call fails at once."""
    async with aiohttp.ClientSession(connector=_Refusing()) as session:
        yield session
