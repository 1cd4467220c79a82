"""Answers in gzip, for clients that say they read it. Small ones are not worth the time."""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict

from msgspec.structs import replace

from proxy.api.messages import Response

SMALLEST = 1024
"""A lasting body below this many bytes is sent as it is."""
SMALLEST_FLEETING = 16_384
"""So is one made for a single request: packing 4 KiB costs as much as answering."""
LARGEST_INLINE = 65_536
"""Longer bodies are packed in a thread, so that nobody else waits."""
QUICK, SMALL = 1, 6
VARY = ("Vary", "Accept-Encoding")
GZIP = 16 + zlib.MAX_WBITS


def accepts_gzip(accepted: str | None) -> bool:
    """Tell whether an `Accept-Encoding` header allows gzip; without the header it does not."""
    if not accepted:
        return False
    qualities: dict[str, float] = {}
    for part in accepted.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        qualities[coding] = _quality(parameters)
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def pack(body: bytes, level: int) -> bytes:
    """Return `body` as gzip."""
    packer = zlib.compressobj(level, zlib.DEFLATED, GZIP)
    return packer.compress(body) + packer.flush()


class Packer:
    """Packs bodies; those that are sent again and again are packed once, within bounds."""

    def __init__(self, most_kept: int = 64, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._most_kept = most_kept
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, asyncio.Future[bytes]] = OrderedDict()

    def is_worth_it(self, response: Response) -> bool:
        """Tell whether an answer is long enough to be packed, and nobody has decided that yet."""
        least = SMALLEST if response.lasting else SMALLEST_FLEETING
        return len(response.body) >= least and not response.is_final

    def plain(self, response: Response) -> Response:
        """Return a long answer as it is, told to be one of two forms."""
        headers = (*response.headers, VARY)
        return replace(response, headers=headers, lasting=False)

    async def answer(self, response: Response, accepted: str | None) -> Response:
        """Return the answer in the encoding that suits the client's `Accept-Encoding`."""
        if not accepts_gzip(accepted):
            return self.plain(response)
        body = await self.packed(response.body, lasting=response.lasting)
        headers = (*response.headers, VARY, ("Content-Encoding", "gzip"))
        return replace(response, body=body, headers=headers, lasting=False)

    async def packed(self, body: bytes, *, lasting: bool) -> bytes:
        """Return `body` as gzip; of several who ask for a lasting one at once, one packs it."""
        if not lasting:
            return await _packed(body, QUICK)
        kept = self._kept.get(body)
        if kept is None:
            kept = self._kept[body] = asyncio.get_running_loop().create_future()
            try:
                kept.set_result(await _packed(body, SMALL))
            finally:
                if not kept.done():
                    kept.cancel()
                    self._kept.pop(body, None)
            self._trim()
        else:
            self._kept.move_to_end(body)
        return await asyncio.shield(kept)

    def _trim(self) -> None:
        size = sum(len(body) for body in self._kept)
        while len(self._kept) > self._most_kept or (size > self._most_bytes and self._kept):
            body, _ = self._kept.popitem(last=False)
            size -= len(body)


async def _packed(body: bytes, level: int) -> bytes:
    if len(body) > LARGEST_INLINE:
        return await asyncio.to_thread(pack, body, level)
    return pack(body, level)
