"""Keep-alives of all streams by one timer, evenly spread over time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from proxy.api.stream_readers import Reader

SHORTEST_STEP_SECONDS: Final = 0.1

Touch = Callable[["Reader", float], None]
"""Do what is to be done for a reader at a time of the loop's clock."""


@final
class Wheel:
    """Touches each reader once in a turn of `seconds`, and first within so many.

    Readers hang on spokes, each on the next one as they come; each step of the timer touches those
    of one spoke.
    """

    def __init__(self, seconds: float, touch: Touch) -> None:
        spokes = max(1, int(seconds / SHORTEST_STEP_SECONDS))
        self._step = seconds / spokes
        self._spokes: list[set[Reader]] = [set() for _ in range(spokes)]
        self._touch = touch
        self._next = 0
        self._readers = 0
        self._turning = asyncio.Event()

    def add(self, reader: Reader) -> None:
        """Begin to touch a reader."""
        reader.spoke = self._next
        self._spokes[reader.spoke].add(reader)
        self._next = (self._next + 1) % len(self._spokes)
        self._readers += 1
        self._turning.set()

    def remove(self, reader: Reader) -> None:
        """Touch a reader no more."""
        self._spokes[reader.spoke].remove(reader)
        self._readers -= 1
        if not self._readers:
            self._turning.clear()

    async def run(self) -> None:
        """Turn for ever; stand still while there is nobody."""
        now = asyncio.get_running_loop().time
        due, place = now(), 0
        while True:
            if not self._readers:
                await self._turning.wait()
                due = now()
            due += self._step
            # What was missed while the loop was held up is made up for at once.
            await asyncio.sleep(max(0.0, due - now()))
            for reader in tuple(self._spokes[place]):
                self._touch(reader, now())
            place = (place + 1) % len(self._spokes)
