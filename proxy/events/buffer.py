"""What waits for upstream: bounded by bytes, in the order of arrival. Knows nothing of the network.

An event is in one of three places: *waiting* for its turn, *taken* into the batch that is on its
way, *held* because upstream wants it later. Only one batch is on its way at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import takewhile
from operator import attrgetter
from typing import Final

import msgspec

from proxy.events.batches import fitting
from proxy.upstream.analytics import Limits

RECORD_BYTES: Final = 160
"""What an event costs in memory beside its own bytes."""

_by_number = attrgetter("number")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One encoded event; `number` counts up, `at` is its second since 1970, `key` its identity."""

    number: int
    body: bytes
    at: float
    key: int

    @property
    def size(self) -> int:
        """What it counts for in the bound."""
        return len(self.body) + RECORD_BYTES


class Buffer:
    """Pending events within `max_bytes`; the oldest give way. `now` is a steady clock's second."""

    def __init__(self, max_bytes: int, *, period_seconds: float) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._period = period_seconds
        self._numbers = 0
        self._waiting: deque[Event] = deque()
        self._since = 0.0
        self._taken: Sequence[Event] = ()
        self._held: list[tuple[float, deque[Event]]] = []

    def __len__(self) -> int:
        held = sum(len(group) for _, group in self._held)
        return len(self._waiting) + len(self._taken) + held

    def append(self, body: bytes, at: float, key: int, now: float) -> list[Event]:
        """Add an encoded event; return those that had to give way for it, the oldest first."""
        self._numbers += 1
        event = Event(self._numbers, body, at, key)
        if not self._waiting:
            self._since = now
        self._waiting.append(event)
        self.size += event.size
        gone = []
        while self.size > self._max_bytes:
            gone.append(self._drop_oldest())
        return gone

    def expire(self, before: float) -> list[Event]:
        """Remove and return the events older than the second `before`, save those on their way."""
        gone = []
        for place in self._places():
            while place and place[0].at < before:
                gone.append(self._drop(place))
        self._sweep()
        return gone

    def due_at(self, enough: int) -> float | None:
        """Return when the next batch should go: past, future, or None when nothing waits.

        That is as soon as `enough` events wait, or when the first has waited for the period.
        """
        times = [until for until, _ in self._held]
        if self._waiting:
            full = len(self._waiting) >= enough
            times.append(self._since if full else self._since + self._period)
        return min(times, default=None)

    def take(self, limits: Limits, now: float, last: int | None = None) -> Sequence[Event]:
        """Take the next batch, nothing with a number beyond `last`; what was held till `now` too.

        It stays counted until `settle` has told what became of each event.
        """
        self._release(now)
        upcoming: Iterable[Event] = self._waiting
        if last is not None:
            upcoming = takewhile(lambda event: event.number <= last, self._waiting)
        count = fitting((len(event.body) for event in upcoming), limits)
        self._taken = tuple(self._waiting.popleft() for _ in range(count))
        return self._taken

    def is_taken(self, batch: Sequence[Event]) -> bool:
        """Return whether this very batch is on its way still."""
        return self._taken is batch

    def settle(
        self, back: Sequence[Event] = (), held: Sequence[Event] = (), until: float = 0.0
    ) -> None:
        """End the way of the batch: some wait again, some are held `until`, the rest is gone."""
        self.size -= sum(event.size for event in self._taken)
        self.size += sum(event.size for event in (*back, *held))
        self._taken = ()
        if back:
            self._waiting.extendleft(reversed(back))
            self._since = float("-inf")  # they have waited long enough
        if held:
            self._held.append((until, deque(held)))

    def release_held(self) -> None:
        """Let what is held wait as all the others do."""
        self._release(float("inf"))

    def clear(self) -> list[Event]:
        """Remove and return everything, what is on its way too."""
        gone = list(merge(self._taken, *self._places(), key=_by_number))
        self.size = 0
        self._taken = ()
        self._waiting.clear()
        self._held.clear()
        return gone

    def held_until(self) -> float:
        """Return when the first held event may go, if nothing else waits; else the past."""
        if self._waiting or not self._held:
            return float("-inf")
        return min(until for until, _ in self._held)

    def first_number(self) -> int | None:
        """Return the number of the event that is next, None when none waits."""
        return self._waiting[0].number if self._waiting else None

    def oldest_at(self) -> float | None:
        """Return the second since 1970 of the oldest event."""
        heads = [place[0].at for place in (self._taken, *self._places()) if place]
        return min(heads, default=None)

    def _places(self) -> list[deque[Event]]:
        return [group for _, group in self._held] + [self._waiting]

    def _drop_oldest(self) -> Event:
        place = min((p for p in self._places() if p), key=lambda p: p[0].number)
        event = self._drop(place)
        self._sweep()
        return event

    def _drop(self, place: deque[Event]) -> Event:
        event = place.popleft()
        self.size -= event.size
        return event

    def _sweep(self) -> None:
        self._held = [(until, group) for until, group in self._held if group]

    def _release(self, now: float) -> None:
        due = [group for until, group in self._held if until <= now]
        if due:
            self._held = [(until, group) for until, group in self._held if until > now]
            self._waiting = deque(merge(*due, self._waiting, key=_by_number))
