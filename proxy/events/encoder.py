"""From what was answered to encoded events, in slices, so that no request waits for long."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Final

from proxy.events.assignment import assignment_event, told_by
from proxy.events.event import EXPOSURE, Event
from proxy.events.exposure import exposure_events
from proxy.events.sieve import Fresh

MOST_FRESH: Final = 8192
SLICE: Final = 64


class Encoder:
    """Encodes what is fresh and hands it to the senders; of too many, the oldest at once."""

    def __init__(self, *, user_properties: bool) -> None:
        self._user_properties = user_properties
        self._fresh: deque[Fresh] = deque()

    def add(self, fresh: Fresh) -> None:
        """Take over what is to be encoded."""
        if len(self._fresh) >= MOST_FRESH:
            self._encode_next()
        self._fresh.append(fresh)

    def waiting(self) -> Counter[str]:
        """Return how much waits, by the project's label."""
        return Counter(fresh.project.label for fresh in self._fresh)

    async def encode_some(self) -> None:
        """Encode what is fresh by now, in slices."""
        # No more than these: under load there are always more.
        slices = -(-len(self._fresh) // SLICE)
        for _ in range(slices):
            for _ in range(min(len(self._fresh), SLICE)):
                self._encode_next()
            await asyncio.sleep(0)

    def encode_all(self) -> None:
        """Encode everything now."""
        while self._fresh:
            self._encode_next()

    def _encode_next(self) -> None:
        fresh = self._fresh.popleft()
        try:
            self._encode(fresh)
        except Exception as error:  # noqa: BLE001  one event's defect is not another's
            fresh.project.lose_to(error, fresh.kind)

    def _encode(self, fresh: Fresh) -> None:
        project, kind, subject, outcomes, asked, at, key = fresh
        millis = round(at * 1000)
        if kind == EXPOSURE:
            bodies = exposure_events(subject, outcomes, asked, millis)
        else:
            with_properties = self._user_properties
            parts = told_by(outcomes)
            bodies = [assignment_event(subject, parts, millis, user_properties=with_properties)]
        if bodies:
            project.tally.of[kind].told += 1
        else:
            project.tally.of[kind].skipped += 1
        for body in bodies:
            project.sender.offer(Event(0, body, at, key, kind))
