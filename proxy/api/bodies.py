"""Bodies of requests as they arrive, within bounds of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from proxy.api.connection import BodyBroken, Connection
from proxy.api.messages import refuse
from proxy.api.wire import CONTINUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import StreamReader

MOST_DIGITS = 18


def declared_length(headers: Mapping[str, str]) -> int | None:
    """Return how many bytes a body says it has, None when it does not say."""
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        return None
    # Thousands of digits, leading zeros too, are more than a number may be read from.
    return int(text.lstrip("0")[:MOST_DIGITS] or "0")


async def awaited_body(
    request: web.BaseRequest, connection: Connection, most: int, patience: float
) -> bytes:
    """Return the body when it is here as a whole; raises BadRequest beyond a bound."""
    length = declared_length(request.headers)
    if length is not None and length > most:
        refuse("Body too large", 413)
    expected = request.headers.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        refuse("Expectation failed", 417)
    connection.body = request.content
    try:
        if expected is not None and request.version >= HttpVersion11:
            await request.writer.write(CONTINUE)
        async with asyncio.timeout(patience):
            return await _read(request.content, most)
    except TimeoutError:
        refuse("The request took too long to arrive", 408)
    except (BodyBroken, ConnectionError, web.RequestPayloadError):
        refuse("The body is broken")
    finally:
        connection.body = None


async def _read(content: StreamReader, most: int) -> bytes:
    parts: list[bytes] = []
    room = most
    while part := await content.readany():
        parts.append(part)
        room -= len(part)
        if room < 0:
            refuse("Body too large", 413)
    return b"".join(parts)
