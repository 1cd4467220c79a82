"""So many at a time: a fleet of deployments starts without a burst."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final


@final
class Gate:
    """Lets `width` in at a time; who stays longer than `longest_hold` seconds blocks nobody."""

    def __init__(self, width: int, longest_hold: float = 5.0) -> None:
        self._seats = asyncio.Semaphore(width)
        self._longest_hold = longest_hold

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and give it back in the end or when it was held too long."""
        await self._seats.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._seats.release()

        timer = asyncio.get_running_loop().call_later(self._longest_hold, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
