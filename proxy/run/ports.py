"""The ports that are listened on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from proxy import logs
from proxy.admin.server import OperatorsServer
from proxy.api.sockets import bind, bind_local

if TYPE_CHECKING:
    from proxy.admin.guard import Guard
    from proxy.admin.pages import Pages
    from proxy.settings.schema import Settings

log = logs.get("run")


class Ports(msgspec.Struct, frozen=True):
    """The numbers of both ports."""

    clients: int
    operators: int


class Bound(msgspec.Struct, frozen=True):
    """The sockets of both ports, bound."""

    clients: list[socket.socket]
    operators: list[socket.socket]
    local: list[socket.socket] = []

    def ports(self) -> Ports:
        """Return the numbers that the system gave."""
        return Ports(self.clients[0].getsockname()[1], self.operators[0].getsockname()[1])


def bind_ports(settings: Settings) -> Bound | None:
    """Return the clients' and the operators' sockets; None, and a line that says why, if not."""
    bound: list[list[socket.socket]] = []
    for what, host, port in (
        ("clients", settings.host, settings.port),
        ("operators", settings.metrics.host, settings.metrics.port),
    ):
        try:
            bound.append(bind(host, port))
        except OSError as error:
            for one in (one for some in bound for one in some):
                one.close()
            reason = error.strerror or str(error)
            log.error("cannot listen", port_for=what, host=host, port=port, reason=reason)  # noqa: TRY400
            return None
    local = _bind_local(settings)
    if local is None:
        for one in (one for some in bound for one in some):
            one.close()
        return None
    return Bound(bound[0], bound[1], local)


def _bind_local(settings: Settings) -> list[socket.socket] | None:
    if settings.unix_socket is None:
        return []
    try:
        return [bind_local(settings.unix_socket, int(settings.unix_socket_mode, 8))]
    except OSError as error:
        reason = error.strerror or str(error)
        log.error("cannot listen", port_for="clients", path=settings.unix_socket, reason=reason)  # noqa: TRY400
        return None


@asynccontextmanager
async def operators_served(
    pages: Pages, bound: list[socket.socket], guard: Guard
) -> AsyncIterator[None]:
    """Serve the operators' pages, to whom the guard lets in, until the block is left."""
    guard.stand_at(bound)
    server = OperatorsServer(pages, guard)
    await server.open(bound)
    try:
        yield
    finally:
        await server.close()
