"""Long messages on encrypted connections, written in portions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, final

PORTION: Final = 16_384
"""As much as one record of TLS holds."""

Data = bytes | memoryview


def outlet_of(transport: asyncio.Transport) -> asyncio.Transport | Portions:
    """Return what to write to: the transport itself, unless it is encrypted."""
    is_encrypted = transport.get_extra_info("sslcontext") is not None
    return Portions(transport) if is_encrypted else transport


@final
class Portions:
    """What is to be written to an encrypted transport, given to it as there is room.

    It copies what it is given, for each client anew, and below it lies another whose buffer it does
    not count: one portion too many is how to see that the other one is full.
    """

    __slots__ = ("_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: deque[memoryview] = deque()
        # So every portion that does not go through at once is heard of, and the end of it.
        transport.set_write_buffer_limits(high=1, low=0)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not been written yet, or not gone through."""
        return sum(map(len, self._waiting)) + self._transport.get_write_buffer_size()

    def write(self, data: Data) -> None:
        """Write data after all that waits."""
        self.writelines((data,))

    def writelines(self, pieces: Iterable[Data]) -> None:
        """Write pieces after all that waits."""
        self._waiting.extend(map(memoryview, pieces))
        self.go_on()

    def go_on(self) -> bool:
        """Write as much as there is room for; return whether anything waits for more."""
        while self._waiting and not self._transport.get_write_buffer_size():
            data = self._waiting.popleft()
            if len(data) > PORTION:
                self._waiting.appendleft(data[PORTION:])
            self._transport.write(data[:PORTION])
        return self.get_write_buffer_size() > 0

    def finish(self) -> None:
        """Write all, as nothing will come after it."""
        while self._waiting:
            self._transport.write(self._waiting.popleft())
