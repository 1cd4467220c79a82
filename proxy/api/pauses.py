"""Moments in which a client is not listened to, and turns of clients that ask too much at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, final

TURNS_AT_ONCE: Final = 32


@final
class Pause:
    """A moment that ends by itself; it is on at most once."""

    __slots__ = ("_loop", "_over", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None

    @property
    def is_on(self) -> bool:
        """Tell whether the moment lasts."""
        return self._timer is not None

    def begin(self, seconds: float, on_end: Callable[[], None]) -> None:
        """Let it last for so many seconds; nothing if it lasts already."""
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._end, on_end)

    async def over(self) -> None:
        """Wait for its end."""
        while self._timer is not None:
            if self._over is None:
                self._over = self._loop.create_future()
            await asyncio.shield(self._over)

    def cut_short(self) -> None:
        """End it now, without a word to who began it."""
        if self._timer is not None:
            self._timer.cancel()
            self._end(lambda: None)

    def _end(self, on_end: Callable[[], None]) -> None:
        self._timer = None
        if self._over is not None:
            self._over.set_result(None)
            self._over = None
        on_end()


@final
class Turnstile:
    """Lets those who queue pass in their order, a few in each turn of the event loop.

    However many clients send requests without waiting for answers, everybody else's wait for a
    turn of the loop stays short.
    """

    def __init__(self, at_once: int = TURNS_AT_ONCE) -> None:
        self._at_once = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait for one's turn."""
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._let_in, loop)
        self._waiting.append(mine)
        await mine

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(self._at_once, len(self._waiting))):
            mine = self._waiting.popleft()
            if not mine.done():
                mine.set_result(None)
        if self._waiting:
            loop.call_soon(self._let_in, loop)
