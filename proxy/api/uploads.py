"""Uploads of analytics SDKs: bounded in number and size, read aside when they are large."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import msgspec

from proxy import logs
from proxy.api.limits import inflate
from proxy.api.messages import JSON, RETRY_AFTER_SECONDS, Response, failure, unavailable
from proxy.errors import BadRequest

LARGEST_INLINE = 65_536
"""Longer bodies are read in a thread, so that nobody else waits."""
MOST_AT_ONCE = 2
MOST_HELD_BYTES = 128 << 20
"""What all uploads that are under way may hold, before they are inflated."""
BUSY = unavailable("Too many uploads at once")
BROKEN = failure(500, "Internal error")
LATER = (("Retry-After", RETRY_AFTER_SECONDS),)


class Desk(Protocol):
    """What takes uploads: `bounds` tells the most bytes, inflated, that each path takes."""

    @property
    def bounds(self) -> Mapping[str, int]:
        """The paths that uploads go to."""

    def read(self, path: str, body: bytes, address: str | None) -> Any:
        """Read a body that came from an address, in any thread."""

    async def keep(self, found: Any) -> tuple[int, bytes]:
        """Keep what was read; return status and body of the answer."""


class Uploads:
    """Hands uploads to the desk; what is under way is bounded."""

    def __init__(self, desk: Desk) -> None:
        self.bounds = desk.bounds
        self._desk = desk
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._held = 0
        self._log = logs.get("api")

    def to(self, path: str, headers: Mapping[str, str]) -> Upload:
        """Return the upload that a request to a path is."""
        most = self.bounds[path]
        length = headers.get("content-length", "")
        held = min(int(length), most) if length.isascii() and length.isdigit() else most
        return Upload(self, path, most, held)

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Count so many bytes as held until the block is left; yield whether there is room."""
        has_room = self._held + size <= MOST_HELD_BYTES
        self._held += size if has_room else 0
        try:
            yield has_room
        finally:
            self._held -= size if has_room else 0

    async def answer(
        self, upload: Upload, body: bytes, headers: Mapping[str, str], peer: str | None
    ) -> Response:
        """Return the answer to an upload whose body has arrived; BadRequest if that is broken."""
        encoding = headers.get("content-encoding", "")
        read = partial(self._read, upload, body, encoding, client_address(headers, peer))
        try:
            if encoding or len(body) > LARGEST_INLINE:
                async with self._turns:
                    found = await asyncio.to_thread(read)
            else:
                found = read()
            status, text = await self._desk.keep(found)
        except BadRequest:
            raise
        except Exception as error:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.error("upload failed", path=upload.path, exc_info=error)
            return BROKEN
        return Response(status, text, JSON, LATER if status == 503 else ())

    def _read(self, upload: Upload, body: bytes, encoding: str, address: str | None) -> Any:
        inflated = inflate(body, encoding, upload.most_bytes)
        return self._desk.read(upload.path, inflated, address)


class Upload(msgspec.Struct, frozen=True):
    """A request that was let in, whose body is for the desk: at most so many bytes of it.

    `held` of them count as held while it is under way.
    """

    uploads: Uploads
    path: str
    most_bytes: int
    held: int


def client_address(headers: Mapping[str, str], peer: str | None) -> str | None:
    """Return the client's own address, None if it says nothing about where the client is.

    Who forges the header could as well forge the address in the events themselves.
    """
    first = headers.get("x-forwarded-for", "").partition(",")[0].strip()
    for text in (first, peer or ""):
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_global:
            return str(address)
    return None
