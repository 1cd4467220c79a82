"""Amplitude as a test scripts it: a true HTTP server on port 0 with a script and a diary.

    async with FakeUpstream() as up:
        up.on("GET", "/sdk/v2/flags", json_answer([flag]), answer(503), json_answer([]))
        ...
        await up.received(3, "/sdk/v2/flags")
        assert up.requests[0].key == "server-a"

Each request takes the next step of its script; the last step repeats. A script may be for one
key only (`key="server-a"`). What no script knows is answered 404.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from aiohttp import web

from tests.fakes.ports import reserve

KEEP_ALIVE = b"data:  \n\n"


@dataclass(frozen=True)
class Request:
    """One line of the diary."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def key(self) -> str:
        """What stands behind `Api-Key` or `Bearer`."""
        return self.headers.get("Authorization", "").partition(" ")[2]

    @property
    def json(self) -> Any:
        """The body as JSON, inflated when it came gzipped."""
        packed = self.headers.get("Content-Encoding") == "gzip"
        return msgspec.json.decode(gzip.decompress(self.body) if packed else self.body)


Step = Callable[[Request, web.BaseRequest], Awaitable[web.StreamResponse]]


def answer(status: int = 200, body: bytes | str = b"", **headers: str) -> Step:
    """Answer with a status, a body and headers (`Retry_After="7"` is written `Retry-After`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body.encode() if isinstance(body, str) else body

    async def step(_request: Request, _raw: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=raw, headers=named)

    return step


def json_answer(value: Any, status: int = 200, **headers: str) -> Step:
    """Answer with a value as JSON."""
    return answer(status, msgspec.json.encode(value), Content_Type="application/json", **headers)


def gzip_answer(body: bytes, **headers: str) -> Step:
    """Answer 200 with a gzipped body."""
    return answer(200, gzip.compress(body), Content_Encoding="gzip", **headers)


def truncated(body: bytes, missing: int = 10) -> Step:
    """Promise `missing` bytes more than are sent, then cut the connection."""

    async def step(_request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body) + missing)})
        await response.prepare(raw)
        await response.write(body)
        assert raw.transport is not None
        raw.transport.close()
        return response

    return step


def cut() -> Step:
    """Close the connection without an answer."""

    async def step(_request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        assert raw.transport is not None
        raw.transport.abort()
        return web.Response()

    return step


def cut_after(count: int, body: bytes, **headers: str) -> Step:
    """Promise the whole body, send its first `count` bytes, then cut the connection."""
    return raw_answer(body[:count], Content_Length=str(len(body)), **headers)


def raw_answer(body: bytes, **headers: str) -> Step:
    """Send 200, these headers and no others, and the body; then close, whatever they promised."""
    named = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
    head = f"HTTP/1.1 200 OK\r\n{named}\r\n".encode()

    async def step(_request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        assert raw.transport is not None
        raw.transport.write(head + body)
        raw.transport.close()
        return web.Response()

    return step


async def wait_for(seconds: float) -> None:
    """Let time pass: what an upstream is slow by is part of its script."""
    await asyncio.sleep(seconds)


def drip(body: bytes, pieces: int, seconds: float, **headers: str) -> Step:
    """Send a body in so many pieces with a pause between them."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    size = -(-len(body) // pieces)

    async def step(_request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=named | {"Content-Length": str(len(body))})
        await response.prepare(raw)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            await wait_for(seconds)
        return response

    return step


def hang() -> Step:
    """Never answer (until the server closes)."""

    async def step(_request: Request, _raw: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    return step


def by_request(choose: Callable[[Request], Step]) -> Step:
    """Let a function of the request choose the answer each time."""

    async def step(request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        return await choose(request)(request, raw)

    return step


class Stream:
    """One scripted event stream: what is said now and later goes to whoever is connected.

    Use it as a step: `up.on("GET", "/sdk/stream/v1/flags", Stream(b"[]"))`. Every connection
    first gets `first` (bytes of a JSON array) as a message; None sends nothing at first.
    """

    def __init__(
        self,
        first: bytes | None = b"[]",
        *,
        content_type: str = "text/event-stream",
        status: int = 200,
    ) -> None:
        self.first = first
        self.status = status
        self.content_type = content_type
        self.connections = 0
        self.opened = 0
        self._lines: list[asyncio.Queue[bytes | None]] = []

    async def __call__(self, _request: Request, raw: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(
            status=self.status, headers={"Content-Type": self.content_type}
        )
        await response.prepare(raw)
        line: asyncio.Queue[bytes | None] = asyncio.Queue()
        if self.first is not None:
            line.put_nowait(b"data: " + self.first + b"\n\n")
        self._lines.append(line)
        self.connections += 1
        self.opened += 1
        try:
            while (piece := await line.get()) is not None:
                await response.write(piece)
        except ConnectionError:
            pass
        finally:
            self.connections -= 1
            self._lines.remove(line)
        return response

    def send(self, raw: bytes) -> None:
        """Send bytes as they are to all who are connected."""
        for line in self._lines:
            line.put_nowait(raw)

    def say(self, body: bytes) -> None:
        """Send one message; later connections get it first."""
        self.first = body
        self.send(b"data: " + body + b"\n\n")

    def keep_alive(self) -> None:
        """Send the vendor's keep-alive."""
        self.send(KEEP_ALIVE)

    def hang_up(self) -> None:
        """End all connections."""
        for line in list(self._lines):
            line.put_nowait(None)


@dataclass
class FakeUpstream:
    """The server; use it as an async context manager."""

    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _scripts: dict[tuple[str, str, str | None], list[Step]] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.ServerRunner | None = None
    _held: socket.socket | None = None

    def on(self, method: str, path: str, *steps: Step, key: str | None = None) -> None:
        """Replace the script of a path (for one key, if given); the last step repeats."""
        self._scripts[method, path, key] = list(steps)

    def at(self, path: str, key: str | None = None) -> list[Request]:
        """Return the diary's lines of one path (and key)."""
        return [
            request
            for request in self.requests
            if request.path == path and (key is None or request.key == key)
        ]

    async def received(
        self, count: int, path: str, *, key: str | None = None, seconds: float = 60
    ) -> list[Request]:
        """Wait until a path was asked for `count` times; return these requests."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.at(path, key)) >= count)
        return self.at(path, key)

    async def __aenter__(self) -> Self:
        self._held = reserve()
        await self.open()
        return self

    async def open(self) -> None:
        """Listen; after `close` on the same port as before."""
        server = web.Server(self._serve, handler_cancellation=True, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await self._runner.setup()
        assert self._held is not None
        port = self._held.getsockname()[1]
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self.url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        assert self._held is not None
        self._held.close()

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        request = Request(
            method=raw.method,
            path=raw.path,
            query=dict(raw.query),
            headers=raw.headers.copy(),
            body=await raw.read(),
            at=asyncio.get_running_loop().time(),
        )
        step = self._next_step(request)
        self.requests.append(request)
        async with self._news:
            self._news.notify_all()
        return await step(request, raw)

    def _next_step(self, request: Request) -> Step:
        for key in (request.key, None):
            script = self._scripts.get((request.method, request.path, key))
            if script:
                return script.pop(0) if len(script) > 1 else script[0]
        return answer(404)
