"""Events for one project: both ingestion endpoints, their limits, one request."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from proxy.secret import Secret
from proxy.upstream.client import UpstreamClient

BATCH: Final = "/batch"
SHORT_IDS: Final = b'{"min_id_length":1}'
"""The options of our own events: without them, ids of less than five characters are refused."""

LARGE_BYTES: Final = 65_536
GZIP: Final = 16 + zlib.MAX_WBITS
GZIP_LEVEL: Final = 3
"""A third of level 9's time; events are so alike that little more could be gained."""
AT_ONCE: Final = 32  # events that are joined to be packed
_HEADERS: Final = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that one request carries; `size` counts the uncompressed body, in bytes."""

    events: int
    size: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are posted to; a throttled event must rest for `rest_seconds`."""

    url: str
    limits: Limits
    rest_seconds: float


class Receipt(NamedTuple):
    """What upstream said to a batch, unread; `retry_after` in seconds, if it asked for that."""

    status: int
    body: bytes = b""
    retry_after: float | None = None


def endpoint(url: str) -> Endpoint:
    """Return the endpoint at `url`, the whole URL; its path tells which limits hold."""
    if url.endswith(BATCH):
        limits = Limits(events=2000, size=16_000_000)
        return Endpoint(url=url, limits=limits, rest_seconds=15.0)
    return Endpoint(url=url, limits=Limits(events=1000, size=1_000_000), rest_seconds=30.0)


def payload(api_key: Secret, events: Sequence[bytes], options: bytes = SHORT_IDS) -> bytes:
    """Return the body that carries these encoded events, uncompressed."""
    return b"".join(_pieces(api_key, events, options))


def packed(api_key: Secret, events: Sequence[bytes], options: bytes = SHORT_IDS) -> bytes:
    """Return that body gzipped; of the uncompressed one there are never but a few events."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP)
    pieces = [packer.compress(piece) for piece in _pieces(api_key, events, options)]
    return b"".join([*pieces, packer.flush()])


async def post_events(
    client: UpstreamClient,
    url: str,
    api_key: Secret,
    events: Sequence[bytes],
    options: bytes = SHORT_IDS,
) -> Receipt:
    """Post encoded events as one gzipped request and return what was answered, whatever it was.

    Raises an `UpstreamError` when there was no answer.
    """
    if sum(map(len, events)) < LARGE_BYTES:
        body = packed(api_key, events, options)
    else:
        body = await asyncio.to_thread(packed, api_key, events, options)
    answer = await client.post(url, body, _HEADERS)
    return Receipt(answer.status, answer.body, client.retry_after(answer.headers))


def _pieces(api_key: Secret, events: Sequence[bytes], options: bytes) -> Iterator[bytes]:
    key = msgspec.json.encode(api_key.reveal())
    yield b'{"api_key":%b,"options":%b,"events":[' % (key, options)
    for first in range(0, len(events), AT_ONCE):
        if first:
            yield b","
        yield b",".join(events[first : first + AT_ONCE])
    yield b"]}"
