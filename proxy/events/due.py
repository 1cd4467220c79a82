"""When the events of one project are due: by the pace of their kind, or when a hold is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Final

from proxy.events.backoff import now
from proxy.events.destinations import Way
from proxy.events.queue import Queue

MOST_HELD_BATCHES: Final = 2
"""When upstream throttles the events of more than so many full batches, no more are tried."""


class Drain:
    """What belongs to the sending of one lane: at most one batch of it is on its way."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause  # from the beginning of one batch to the next one's, at least
        self.news = asyncio.Event()
        self.turn = asyncio.Lock()
        self.ends: list[int] = []  # where the next batches have to end, the nearest last
        self.not_before = float("-inf")


class Due:
    """Since when events wait, and which upstream wants later; seconds of the loop's clock."""

    def __init__(self, queue: Queue, way: Way) -> None:
        self._queue = queue
        self._way = way
        self._since: dict[str, float] = {}
        self._held: list[tuple[float, list[int]]] = []

    def begin(self, kind: str) -> None:
        """Take note that an event of a kind begins to wait."""
        if not self._queue.live.kinds[kind]:
            self._since[kind] = now()

    def release(self, numbers: Iterable[int]) -> None:
        """Let lent events wait again; they have waited long enough."""
        for slip in self._queue.release(numbers):
            self._since[slip.kind] = float("-inf")

    def hold(self, until: float, numbers: list[int]) -> None:
        """Keep lent events back until then."""
        if numbers:
            self._held.append((until, numbers))

    def release_held(self, until: float) -> bool:
        """Let those wait again whose hold is over by then; return whether there were any."""
        due = [numbers for at, numbers in self._held if at <= until]
        if due:
            self._held = [(at, numbers) for at, numbers in self._held if at > until]
            self.release(chain.from_iterable(due))
        return bool(due)

    def live_at(self, most: int) -> float | None:
        """Return when the next live batch should go, if one carries `most` events; None: never."""
        times = [at for at, _ in self._held]
        for kind, count in self._queue.live.kinds.items():
            pace = self._way.pace_of(kind)
            if count >= min(pace.threshold, most):
                times.append(self._since[kind])
            elif count > 0:
                times.append(self._since[kind] + pace.period_seconds)
        return min(times, default=None)

    def room_at(self) -> float:
        """Return when more may be held: upstream throttles so many that others should wait."""
        held = sum(len(numbers) for _, numbers in self._held)
        if held < MOST_HELD_BATCHES * self._way.limits.events:
            return float("-inf")
        return min(at for at, _ in self._held)

    def held_until(self) -> float | None:
        """Return when the first held event may go, None when none is held."""
        return min((at for at, _ in self._held), default=None)
