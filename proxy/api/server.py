"""The clients' port on aiohttp's low level: listens, watches over connections, leaves tidily."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

from proxy import logs, tasks
from proxy.api import sockets
from proxy.api.connection import STATES, Connection
from proxy.api.listener import Listener

if TYPE_CHECKING:
    import ssl

    from proxy.api.carrier import Carrier
    from proxy.api.doorman import Doorman
    from proxy.api.in_force import InForce
    from proxy.api.overload import Overload

BACKLOG = 2048
MOST_HEADERS = 256
QUIET_SECONDS = 0.5
HANDSHAKE_SECONDS = 0.1
POLL_SECONDS = 0.02
SHARE_OF_STREAMS = 0.8
"""The part of the time to get quiet in which all streams are ended."""
NEVER_SECONDS = 1e9
LOOKED_AT_IN_A_ROW = 1000
LEAST_PATIENCE = 0.2
"""The part of the time for a request that is left to it when all connections are taken."""


class ClientServer:
    """Serves what the carrier carries, on bound sockets, until it is drained."""

    def __init__(
        self,
        carrier: Carrier,
        in_force: InForce,
        overload: Overload,
        doorman: Doorman | None = None,
    ) -> None:
        self._carrier = carrier
        self._overload = overload
        self._doorman = carrier.crowd.doorman = doorman
        self._states: Counter[str] = Counter()
        self._in_force = in_force
        self._log = logs.get("api")
        self._quiet = logging.Logger("aiohttp", logging.CRITICAL + 1)  # noqa: LOG001  nobody's child
        self._listener: Listener | None = None
        self._listening: list[tuple[asyncio.Server, socket.socket]] = []
        self._watch: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None

    async def open(self, bound: list[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Listen on sockets that are bound already; they belong to the server from now on.

        With `tls`, all but local sockets speak nothing else.
        """
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._carrier.serve, self._connection, self._doorman)
        for listening in bound:
            self._listening.append((await self._listen(loop, listening, tls), listening))
        watching = tasks.keep_alive(self._watch_connections, self._watcher_died)
        self._watch = tasks.start("watcher of slow connections", watching)
        beating = tasks.keep_alive(self._overload.watch, self._heart_died)
        self._heart = tasks.start("heartbeat of the event loop", beating)

    async def _listen(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
    ) -> asyncio.Server:
        assert self._listener is not None
        if listening.family == socket.AF_UNIX:
            return await loop.create_unix_server(self._listener, sock=listening, backlog=BACKLOG)
        return await loop.create_server(
            self._listener,
            sock=listening,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=self._in_force.patience if tls else None,
        )

    def connections_open(self) -> int:
        """Return how many clients are connected."""
        return len(self._connections()) + len(self._carrier.crowd)

    def connections_busy(self) -> int:
        """Return on how many connections a request is under way."""
        return sum(connection.owed > 0 for connection in self._connections())

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Answer what comes until it is quiet, stop accepting, see the last ones off; then close.

        Takes at most `seconds`, half of them to get quiet. `hurry` cuts it short.
        """
        began = asyncio.get_running_loop().time()
        self._carrier.leaving = True
        await self._until_quiet(began + seconds / 2, hurry)
        await self._stop_accepting(began + seconds, hurry)
        await self._see_off(began + seconds, hurry)
        await self.close()

    async def close(self) -> None:
        """Close everything now."""
        await tasks.stop(*filter(None, (self._watch, self._heart)))
        self._close_listeners()
        if self._listener is not None:
            if busy := self.connections_busy():
                self._log.warning("requests cut off", requests=busy)
            await self._carrier.crowd.cut_off()
            self._listener.outbox.flush()
            await self._listener.shutdown(POLL_SECONDS)
        self._carrier.close()

    async def _until_quiet(self, deadline: float, hurry: asyncio.Event) -> None:
        """Wait until no request has come for a while; those that come are asked to connect anew.

        Streams end meanwhile, one after the other: SDKs ask for flags as soon as theirs has ended,
        and the Node SDK takes its program down when nobody answers.
        """
        now = asyncio.get_running_loop().time
        last_stream = now() + SHARE_OF_STREAMS * (deadline - now())
        quiet = now() + QUIET_SECONDS
        while now() < min(quiet, deadline) and not hurry.is_set():
            if self._carrier.crowd:
                self._carrier.crowd.thin_out((last_stream - now()) / POLL_SECONDS)
                quiet = now() + QUIET_SECONDS
            await tasks.wait_for_event(hurry, POLL_SECONDS)
            quiet = max(quiet, self._carrier.last_request + QUIET_SECONDS)

    async def _see_off(self, deadline: float, hurry: asyncio.Event) -> None:
        """Wait for the last requests; close connections on which nothing came for a while.

        Closing one at once could cross a request that is on its way.
        """
        now = asyncio.get_running_loop().time
        while self.connections_open() and now() < deadline and not hurry.is_set():
            for connection in self._connections():
                if connection.is_idle and now() - connection.last_used >= QUIET_SECONDS:
                    connection.force_close()
            await tasks.wait_for_event(hurry, POLL_SECONDS)

    async def _stop_accepting(self, deadline: float, hurry: asyncio.Event) -> None:
        now = asyncio.get_running_loop().time
        doors = [one for _, one in self._listening if sockets.let_nobody_new_in(one)]
        if doors:
            await tasks.wait_for_event(hurry, HANDSHAKE_SECONDS)
        # A machine that is short of time may not have taken everybody in by now.
        while any(map(sockets.somebody_waits_at, doors)) and now() < deadline:
            if await tasks.wait_for_event(hurry, POLL_SECONDS):
                break
        self._close_listeners()

    def _close_listeners(self) -> None:
        for server, listening in self._listening:
            if isinstance(listening, sockets.LocalSocket):
                listening.take_off_path()
            server.close()
        self._listening.clear()

    def connections_in(self, state: str) -> int:
        """Return how many connections were in a state when they were last looked at."""
        return self._states[state]

    def status(self) -> dict[str, Any]:
        """Return how many connections do what, and how late the event loop is."""
        return {
            **{state: self._states[state] for state in STATES},
            "event_loop_delay_seconds": round(self._overload.delay, 4),
        }

    def _heart_died(self, error: BaseException | None, _pause: float) -> None:
        self._log.error("heartbeat of the event loop died", exc_info=error)

    def _watcher_died(self, error: BaseException | None, _pause: float) -> None:
        self._log.error("watcher of slow connections died", exc_info=error)

    async def _watch_connections(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(1.0, self._in_force.patience / 4))
            idle_seconds = self._in_force.limits.idle_timeout_millis / 1000
            ease = 1.0 if self._doorman is None else self._doorman.patience
            patience = self._in_force.patience * max(LEAST_PATIENCE, ease)
            states: Counter[str] = Counter()
            for number, connection in enumerate(self._connections(), 1):
                connection.look(now(), patience, idle_seconds * ease)
                states[connection.state] += 1
                if not number % LOOKED_AT_IN_A_ROW:
                    await asyncio.sleep(0)
            self._states = states

    def _connections(self) -> list[Connection]:
        open_ones = [] if self._listener is None else self._listener.connections
        return [each for each in open_ones if isinstance(each, Connection)]

    def _connection(self, server: Listener) -> Connection:
        most_header_bytes = self._in_force.limits.max_header_bytes
        return Connection(
            server,
            self._carrier.at_once,
            self._carrier.refusal,
            2 * most_header_bytes,
            # The watcher ends idle connections; it also knows of requests answered at once.
            keepalive_timeout=NEVER_SECONDS,
            access_log=None,
            logger=self._quiet,
            max_line_size=most_header_bytes,
            max_field_size=most_header_bytes,
            max_headers=MOST_HEADERS,
            lingering_time=2.0,
            auto_decompress=False,
        )
