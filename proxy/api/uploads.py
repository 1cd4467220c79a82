"""Uploads of analytics SDKs: bounded in number and size, read aside when they are large."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter

from proxy import logs
from proxy.api.bodies import declared_length
from proxy.api.holding import Holding
from proxy.api.limits import inflate
from proxy.api.messages import JSON, Response, failure, soon, unavailable
from proxy.errors import BadRequest

LARGEST_INLINE = 65_536
"""Longer bodies are read in a thread, so that nobody else waits."""
MOST_AT_ONCE = 2
MOST_HELD_BYTES = 128 << 20
"""What all uploads that are under way may hold, before they are inflated."""
BROKEN = failure(500, "Internal error")


class Desk(Protocol):
    """What takes uploads: `bounds` tells the most bytes, inflated, that each path takes."""

    @property
    def bounds(self) -> Mapping[str, int]:
        """The paths that uploads go to."""

    def read(self, path: str, body: bytes, address: str | None) -> Any:
        """Read a body that came from an address, in any thread."""

    async def keep(self, found: Any) -> tuple[int, bytes]:
        """Keep what was read; return status and body of the answer."""


class Taker(Protocol):
    """Who takes bodies that are read within bounds of their own."""

    def holding(self, size: int) -> AbstractContextManager[bool]:
        """Count so many bytes as held until the block is left; yield whether there is room."""

    async def answer(
        self, upload: Upload, body: bytes, headers: Mapping[str, str], peer: str | None
    ) -> Response:
        """Return the answer to a request whose body has arrived; BadRequest if that is broken."""


class Uploads:
    """Hands uploads to the desk; what is under way is bounded."""

    def __init__(self, desk: Desk, rejected: Counter) -> None:
        self.bounds = desk.bounds
        self._desk = desk
        self._busy = rejected.labels("busy")
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._holding = Holding(MOST_HELD_BYTES)
        self._log = logs.get("api")

    def to(self, path: str, headers: Mapping[str, str]) -> Upload:
        """Return the upload that a request to a path is."""
        most = self.bounds[path]
        return Upload(self, path, most, declared(headers, most))

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Count so many bytes as held until the block is left; yield whether there is room."""
        with self._holding.during(size) as has_room:
            if not has_room:
                self._busy.inc()
            yield has_room

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
        return Response(
            status, text, JSON, (("Retry-After", str(soon())),) if status == 503 else ()
        )

    def _read(self, upload: Upload, body: bytes, encoding: str, address: str | None) -> Any:
        inflated = inflate(body, encoding, upload.most_bytes)
        return self._desk.read(upload.path, inflated, address)


def busy() -> Response:
    """Return the answer to one upload too many."""
    return unavailable("Too many uploads at once")


class Upload(msgspec.Struct, frozen=True):
    """A request that was let in, whose body `uploads` takes: at most so many bytes of it.

    `held` of them count as held while it is under way.
    """

    uploads: Taker
    path: str
    most_bytes: int
    held: int


def declared(headers: Mapping[str, str], most: int) -> int:
    """Return how long a body says it is; `most` when it does not, or says more."""
    length = declared_length(headers)
    return most if length is None else min(length, most)


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
