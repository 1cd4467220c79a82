"""The body of an answer that is written while it comes to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from proxy.api.connection import Connection

LAST_CHUNK = b"0\r\n\r\n"


@final
class StreamedBody:
    """An `Outflow` on one connection; chunked, or until the connection ends (HTTP/1.0)."""

    def __init__(self, connection: Connection, *, is_chunked: bool) -> None:
        self._connection = connection
        self._is_chunked = is_chunked

    @property
    def is_open(self) -> bool:
        """Tell whether the client is still there."""
        transport = self._connection.transport
        return transport is not None and not transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """How much was written that the client has not taken yet."""
        transport = self._connection.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def frame(self, data: bytes) -> bytes:
        """Return `data` as one chunk, or as it is."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data

    def put(self, framed: bytes) -> None:
        """Write what is framed already, at once and without waiting; nothing when it is closed."""
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            self._connection.poured += len(framed)
            transport.write(framed)

    async def write(self, data: bytes) -> None:
        """Frame and write `data`, waiting while the client does not read.

        Raises ConnectionError when it is gone.
        """
        if not data:
            return
        if not self.is_open:
            raise ConnectionResetError
        self.put(self.frame(data))
        if self._connection.writing_paused:
            await self._connection.drained()

    async def gone(self) -> None:
        """Wait until the client is gone."""
        await self._connection.gone()

    def abort(self) -> None:
        """Cut the connection; what is unread is lost."""
        transport = self._connection.transport
        if transport is not None:
            transport.abort()

    def finish(self) -> None:
        """Say that this was all."""
        if self._is_chunked:
            self.put(LAST_CHUNK)
