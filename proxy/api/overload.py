"""Whether the process keeps up: how late the event loop is, and what part of the work to refuse."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from proxy.metrics import Metrics

BEAT_SECONDS: Final = 0.02
IDLE_BEAT_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.2
FEWEST_BEATS: Final = 3
MOST_REFUSED: Final = 0.95
"""Some work always goes on: by it we see when the rush is over."""
STEP: Final = 0.1
STEP_BACK: Final = 0.05


@final
class Overload:
    """Measures how long work waits for its turn; refuses a `share` of it while that is too long.

    A single pause is nobody's fault. Only when even the shortest delay of a fifth of a second was
    beyond the target is there more work than time; then the part that is refused grows step by
    step, and shrinks when the delay does. A target of 0 refuses nothing.
    """

    def __init__(
        self,
        target_seconds: float,
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.share = 0.0
        self.delay = 0.0
        self._target = target_seconds
        self._draw = draw
        self._observe = metrics.loop_delay_seconds.labels().observe
        self._show = metrics.shed_share.set
        self._shortest = float("inf")
        self._beats = 0
        self._seconds = 0.0

    def aim(self, target_seconds: float) -> None:
        """Take another target from now on; 0 refuses nothing."""
        self._target = target_seconds
        if not target_seconds:
            self.share = 0.0
            self._show(self.share)

    def refuses(self) -> bool:
        """Tell whether this piece of work is among those that are refused now."""
        return self.share > 0.0 and self._draw() < self.share

    def beat(self, late: float) -> None:
        """Take note that a heartbeat was so many seconds late."""
        self.delay = late
        self._observe(late)
        if not self._target:
            return
        self._shortest = min(self._shortest, late)
        self._beats += 1
        self._seconds += late + BEAT_SECONDS
        if self._seconds < LOOK_SECONDS or self._beats < FEWEST_BEATS:
            return
        excess = self._shortest / self._target
        if excess > 1.0:
            self.share = min(MOST_REFUSED, self.share + STEP * min(excess, 4.0))
        else:
            self.share = max(0.0, self.share - STEP_BACK)
        self._show(self.share)
        self._shortest, self._beats, self._seconds = float("inf"), 0, 0.0

    async def watch(self) -> None:
        """Beat for ever."""
        while True:
            pause = BEAT_SECONDS if self._target else IDLE_BEAT_SECONDS
            began = time.perf_counter()
            await asyncio.sleep(pause)
            self.beat(max(0.0, time.perf_counter() - began - pause))
