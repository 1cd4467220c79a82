"""Who is sent a message when: in small slices, so that whoever asks something else goes between.

A change of flags means a message for everybody, and after a restart everybody comes at once. Those
who come wait with a clock in hand: an SDK gives a stream a second and a half for its first message.
Whose turn comes later than that is told so at once; the message would be a waste, and would make
all behind it late, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.api.stream_readers import Reader
    from proxy.api.stream_unread import Unread

SLICE_SECONDS: Final = 0.001
LONGEST_SLICE_SECONDS: Final = 0.02
LONGEST_WAIT_SECONDS: Final = 1.0
"""Less than an SDK's patience: connecting and being read took their time already."""
LOOK_AGAIN_SECONDS: Final = 0.02


@final
class Turns:
    """Gives every reader its turn: newcomers and those to be told something new by turns."""

    def __init__(
        self, unread: Unread, send: Callable[[Reader], None], refuse: Callable[[Reader], None]
    ) -> None:
        self._unread = unread
        self._send = send
        self._refuse = refuse
        self._newcomers: deque[Reader] = deque()
        self._others: deque[Reader] = deque()
        self._newcomer_is_next = True
        self._wanted = asyncio.Event()

    def __len__(self) -> int:
        return len(self._newcomers) + len(self._others)

    def add(self, reader: Reader) -> None:
        """Give a reader a turn, if it does not wait for one already."""
        if not reader.waits:
            reader.waits = True
            (self._newcomers if reader.told is None else self._others).append(reader)
            self._wanted.set()

    async def run(self) -> None:
        """Give turns for ever."""
        now = asyncio.get_running_loop().time
        while True:
            await self._wanted.wait()
            rested = perf_counter()
            while self:
                # Half of the time when all else takes long: connecting is the greater part of it.
                others = perf_counter() - rested
                self._slice(now(), min(max(SLICE_SECONDS, others), LONGEST_SLICE_SECONDS))
                rested = perf_counter()
                is_crowded = self and self._unread.is_crowded(now())
                await asyncio.sleep(LOOK_AGAIN_SECONDS if is_crowded else 0)
            self._wanted.clear()

    def _slice(self, now: float, seconds: float) -> None:
        """Give turns for a moment."""
        until = perf_counter() + seconds
        while self and perf_counter() < until:
            if self._newcomers and now - self._newcomers[0].since > LONGEST_WAIT_SECONDS:
                self._refuse(self._newcomers.popleft())
            elif self._unread.is_crowded(now):
                return
            else:
                reader = self._next()
                reader.waits = False
                self._send(reader)

    def _next(self) -> Reader:
        first, second = self._newcomers, self._others
        if not self._newcomer_is_next:
            first, second = second, first
        self._newcomer_is_next = not self._newcomer_is_next
        return first.popleft() if first else second.popleft()
