"""What is too old, by a wall clock that may be wrong: a clock that is set costs no event."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy import tasks

LOOK_SECONDS: Final = 60.0
"""How often somebody looks for what is too old."""
STEP_SECONDS: Final = 60.0
"""A wall clock that is put forward by more makes nothing older."""


class Ages:
    """Says before which second since 1970 events are too old; they carry the wall clock's time.

    When the wall clock is put forward, what waits keeps the age that it had; what comes from then
    on cannot be too old before all that waited is.
    """

    def __init__(self, clock: tasks.Clock, longest_seconds: float) -> None:
        self._clock = clock
        self._longest = longest_seconds
        self._looked_at = float("-inf")
        # How far the wall clock is before the loop's, as far as that is believed.
        self._ahead: float | None = None
        self._ahead_since_step = 0.0
        self._stepped_at: float | None = None

    def before(self) -> float | None:
        """Return the second before which events are too old; None when it is not time to look."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = now
        return self._believed(now) + now - self._longest

    def _believed(self, now: float) -> float:
        ahead = self._clock() - now
        if self._ahead is None or ahead <= self._ahead + STEP_SECONDS:
            self._ahead, self._stepped_at = ahead, None
            return ahead
        if self._stepped_at is None or ahead > self._ahead_since_step + STEP_SECONDS:
            self._stepped_at = now
        self._ahead_since_step = ahead
        if now - self._stepped_at >= self._longest:
            self._ahead, self._stepped_at = ahead, None
        return self._ahead
