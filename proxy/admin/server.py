"""The operators' port over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import msgspec
from aiohttp import web

from proxy import logs
from proxy.admin.pages import Ask, Page, Pages, Refused, refusal
from proxy.admin.visits import SERVER, Answer, Visits

if TYPE_CHECKING:
    import socket

MOST_BODY_BYTES: Final = 262_144
NOT_FOUND: Final = refusal(404, "Not found")
BROKEN: Final = refusal(500, "Internal error")

FIXED_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer: no script or style but the page's own files, no call but to this port."""

Guard = Callable[[Ask], Ask | Page]
"""Let a request pass, perhaps as one that is not known (`is_known`), or answer it itself."""


def let_pass(ask: Ask) -> Ask:
    """Let everybody see everything."""
    return ask


class OperatorsServer:
    """Serves the pages on bound sockets until it is closed; `guard` sees each request first."""

    def __init__(
        self,
        pages: Pages,
        guard: Guard = let_pass,
        visits: Callable[[Answer], Visits] = Visits,
    ) -> None:
        self._pages = pages
        self._guard = guard
        self._visits = visits
        self._log = logs.get("admin")
        self._runner: web.ServerRunner | None = None

    async def open(self, bound: list[socket.socket]) -> None:
        """Listen on sockets that are bound already; they belong to the server from now on."""
        self._runner = web.ServerRunner(self._visits(self._serve), shutdown_timeout=1.0)
        await self._runner.setup()
        for listening in bound:
            await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Stop listening and close what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, query = split(request.raw_path)
        ask = Ask(request.method, path, query, request.headers, address=request.remote)
        try:
            return _response(await self._answer(ask, request))
        except Refused as refused:
            return _response(refused.page)
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("page failed", path=ask.path)
            return _response(BROKEN)

    async def _answer(self, ask: Ask, request: web.BaseRequest) -> Page:
        # Here, and only here, somebody is turned away before anything is looked up or read.
        guarded = self._guard(ask)
        if isinstance(guarded, Page):
            return guarded
        route = self._pages.by_path.get(ask.path)
        if route is None:
            return NOT_FOUND
        handler = route.get("GET" if ask.method == "HEAD" else ask.method)
        if handler is None:
            allowed = sorted({*route, *(["HEAD"] if "GET" in route else [])})
            refused = refusal(405, "Method not allowed")
            return msgspec.structs.replace(refused, headers=(("Allow", ", ".join(allowed)),))
        if ask.method == "POST":
            guarded = msgspec.structs.replace(guarded, body=await _body(request))
        return await handler(guarded)


def split(target: str) -> tuple[str, str]:
    """Return the decoded path and the query of a request's target."""
    if target[:1] != "/":
        # With scheme and host, as one asks a proxy.
        _, _, rest = target.partition("://")
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("#")[0].partition("?")
    return unquote(path), query


async def _body(request: web.BaseRequest) -> bytes:
    """Return the body; Refused when it is too large, packed, or does not come whole."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "The body is packed: send it as it is")
    too_large = Refused(413, "The body is too large", most_bytes=MOST_BODY_BYTES)
    if (request.content_length or 0) > MOST_BODY_BYTES:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > MOST_BODY_BYTES:
                break
    except Exception:  # noqa: BLE001  whatever it is, it is the visitor's
        raise Refused(400, "The body did not come whole") from None
    if size > MOST_BODY_BYTES:
        raise too_large
    return b"".join(parts)


def _response(page: Page) -> web.Response:
    headers = {**FIXED_HEADERS, "Content-Type": page.content_type, **dict(page.headers)}
    return web.Response(status=page.status, body=page.body, headers=headers)
