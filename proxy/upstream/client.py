"""One session for all calls: deadlines, bounded bodies, and errors translated at the border."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, final

import aiohttp
import msgspec

from proxy import __version__
from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.settings.zones import Urls
from proxy.tasks import Clock, wall_clock
from proxy.upstream.retry_after import retry_after

LIBRARY = f"evaluation-proxy/{__version__}"
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_POST_ANSWER_BYTES = 1024 * 1024
AGAIN = frozenset({408, 425, 429})


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call may take, in seconds; a stream has no end, only its beginning counts."""

    connect: float = 5.0
    total: float = 30.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a long body must keep to; its whole time is not bounded while it does."""

    silence: float = 30.0
    """The longest wait for the next byte, in seconds."""
    window: float = 60.0
    """So many seconds of waiting ..."""
    least_bytes: int = 64 * 1024
    """... must bring so many bytes."""
    most_bytes: int = 16 * 2**30
    """No body is longer than this."""


class Answer(NamedTuple):
    """A response that was read to its end; header names are compared without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def join(base: str, path: str) -> str:
    """Append a path to a configured URL, whose own path is kept."""
    return base.rstrip("/") + path


@asynccontextmanager
async def open_session(*hooks: aiohttp.TraceConfig) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the one session of the process; as many connections as streams. `hooks` hear of all."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=list(hooks)
    ) as session:
        yield session


@final
class UpstreamClient:
    """Makes single calls to Amplitude; raises `UpstreamError`s and nothing else."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Urls,
        *,
        library: str = LIBRARY,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  frozen
        max_body_bytes: int = MAX_BODY_BYTES,
        clock: Clock = wall_clock,
        pace: Pace = Pace(),  # noqa: B008  frozen
    ) -> None:
        self.urls = urls
        self._session = session
        self._library = library
        self._deadlines = deadlines
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._pace = pace

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        most_bytes: int | None = None,
    ) -> Answer:
        """Get a 2xx answer (or 304, if `headers` ask for it); raise an `UpstreamError` else.

        A body of more than `most_bytes` (by default, the client's own limit) is such an error.
        """
        limit = self._max_body_bytes if most_bytes is None else most_bytes
        with _translated():
            async with (
                asyncio.timeout(self._deadlines.total),
                await self._request("GET", url, headers, query=query) as response,
            ):
                unchanged = response.status == 304 and "If-None-Match" in headers
                if not unchanged:
                    self._refuse_failure(response)
                body, complete = await _read(response, limit)
        if not complete:
            raise UpstreamGarbled(f"a body of more than {limit} bytes")
        return Answer(status=response.status, headers=response.headers, body=body)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and return whatever was answered, redirects too, cut after 1 MiB.

        Raises `UpstreamUnavailable` when there was no answer.
        """
        with _translated():
            async with (
                asyncio.timeout(self._deadlines.total),
                await self._request("POST", url, headers, body=body) as response,
            ):
                answer, _ = await _read(response, MAX_POST_ANSWER_BYTES)
        return Answer(status=response.status, headers=response.headers, body=answer)

    async def open_stream(self, url: str, *, headers: Mapping[str, str]) -> ByteStream:
        """Open a body that does not end; raise an `UpstreamError` unless it begins with 200."""
        with _translated():
            async with asyncio.timeout(self._deadlines.connect):
                # Compressed events would be held back by whoever compresses them.
                response = await self._request(
                    "GET", url, {**headers, "Accept-Encoding": "identity"}
                )
        self._close_failure(response)
        return ByteStream(response)

    async def open_body(
        self, url: str, *, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> LongBody:
        """Open a body of any length, packed as it comes; raise an `UpstreamError` unless 2xx."""
        with _translated():
            async with asyncio.timeout(self._deadlines.total):
                response = await self._request(
                    "GET", url, {**headers, "Accept-Encoding": "gzip"}, query=query, inflate=False
                )
        self._close_failure(response)
        return LongBody(response, self._pace)

    def retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds that a `Retry-After` header asks for, at most an hour."""
        return retry_after(headers.get("Retry-After"), self._clock())

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        inflate: bool = True,
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            url,
            params=query,
            data=body,
            headers={"X-Amp-Exp-Library": self._library, **headers},
            # A redirect could carry the key to another host.
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._deadlines.connect),
            auto_decompress=inflate,
        )

    def _close_failure(self, response: aiohttp.ClientResponse) -> None:
        try:
            self._refuse_failure(response)
        except UpstreamError:
            response.close()
            raise

    def _refuse_failure(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if 200 <= status <= 299:
            return
        kind = UpstreamUnavailable if status >= 500 or status in AGAIN else UpstreamRefused
        reason = "redirected" if 300 <= status <= 399 else "answered"
        raise kind(
            f"{reason} {status}", status=status, retry_after=self.retry_after(response.headers)
        )


@final
class ByteStream:
    """The body of an answer that does not end."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.content_type = response.content_type
        self._response = response

    async def read(self, until: float) -> bytes | None:
        """Return the next bytes, or None when the loop's clock passes `until`.

        Raises `UpstreamUnavailable` when the stream ends or breaks.
        """
        with _translated():
            try:
                async with asyncio.timeout_at(until):
                    piece = await self._response.content.readany()
            except TimeoutError:
                return None
        if not piece:
            raise UpstreamUnavailable("the stream ended")
        return piece

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._response.close()


@final
class LongBody:
    """The body of one answer as it came on the wire; `length` is what its head promises."""

    def __init__(self, response: aiohttp.ClientResponse, pace: Pace) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.length = response.content_length
        self._response = response
        self._pace = pace
        self._waited = 0.0
        self._came = 0
        self._size = 0

    async def read(self) -> bytes:
        """Return the next bytes, empty when the body is complete.

        Raises `UpstreamUnavailable` when it breaks off, falls silent or trickles, and
        `UpstreamGarbled` when it does not end.
        """
        now = asyncio.get_running_loop().time
        began = now()
        with _translated():
            async with asyncio.timeout(self._pace.silence):
                piece = await self._response.content.readany()
        # Only our waiting counts: a slow disk on our side is not upstream's fault.
        self._waited += now() - began
        self._came += len(piece)
        if self._waited >= self._pace.window:
            if piece and self._came < self._pace.least_bytes:
                raise UpstreamUnavailable(f"{self._came} bytes in {self._waited:.0f} seconds")
            self._waited, self._came = 0.0, 0
        self._size += len(piece)
        if self._size > self._pace.most_bytes:
            raise UpstreamGarbled(f"a body of more than {self._pace.most_bytes} bytes")
        return piece

    def close(self) -> None:
        """Close the connection unless the body is complete; a second time does nothing."""
        self._response.close()


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Read at most about `limit` inflated bytes; tell whether that was all."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            response.close()
            return b"".join(pieces), False
    return b"".join(pieces), True


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the client library's errors into ours, without URLs or keys in their text."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamUnavailable("no answer in time") from error
    except aiohttp.ClientPayloadError as error:
        raise UpstreamUnavailable("the answer broke off") from error
    except (aiohttp.ClientError, OSError) as error:
        cause = getattr(error, "strerror", None) or ""
        reason = f"no answer: {type(error).__name__} {cause}".rstrip()
        raise UpstreamUnavailable(reason) from None
    except ValueError as error:
        # A URL or a header that cannot be sent; the library's text would quote it.
        raise UpstreamRefused(f"cannot be asked: {type(error).__name__}") from None
