"""The operators' port over HTTP."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy import logs

if TYPE_CHECKING:
    import socket

    from proxy.admin.pages import Page, Pages

NOT_FOUND: Final = b'{"code":404,"error":"Not found"}'
NOT_ALLOWED: Final = b'{"code":405,"error":"Method not allowed"}'
BROKEN: Final = b'{"code":500,"error":"Internal error"}'
JSON: Final = {"Content-Type": "application/json; charset=utf-8"}


class OperatorsServer:
    """Serves the pages on bound sockets until it is closed."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._log = logs.get("admin")
        self._runner: web.ServerRunner | None = None

    async def open(self, bound: list[socket.socket]) -> None:
        """Listen on sockets that are bound already; they belong to the server from now on."""
        quiet = logging.Logger("aiohttp", logging.CRITICAL + 1)  # noqa: LOG001  nobody's child
        server = web.Server(self._serve, access_log=None, logger=quiet)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        for listening in bound:
            await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Stop listening and close what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.by_path.get(request.path)
        if page is None:
            return web.Response(status=404, body=NOT_FOUND, headers=JSON)
        if request.method not in ("GET", "HEAD"):
            headers = {**JSON, "Allow": "GET, HEAD"}
            return web.Response(status=405, body=NOT_ALLOWED, headers=headers)
        try:
            return _response(page())
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("page failed", path=request.path)
            return web.Response(status=500, body=BROKEN, headers=JSON)


def _response(page: Page) -> web.Response:
    headers = {"Content-Type": page.content_type, "Cache-Control": "no-store"}
    return web.Response(status=page.status, body=page.body, headers=headers)
