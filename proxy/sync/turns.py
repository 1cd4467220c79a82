"""So many at a time, the urgent first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import final


@final
class Turns:
    """Lets `width` in at a time, by rank and then by arrival.

    Who stays longer than `longest_hold` seconds blocks nobody.
    """

    def __init__(self, width: int, longest_hold: float = 600.0) -> None:
        self._free = width
        self._longest_hold = longest_hold
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """Wait for a turn (low ranks first) and give it back in the end."""
        await self._take(rank)
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._give_back()

        timer = asyncio.get_running_loop().call_later(self._longest_hold, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    async def _take(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
