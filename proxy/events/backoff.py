"""When to try again: sooner or later, by chance, never before upstream's own wish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0


class Backoff:
    """Failures in a row and what they cost; `not_before` is a second of the loop's clock."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.failures = 0
        self.not_before = float("-inf")
        self._chance = chance

    def wait(self, seconds: float) -> None:
        """Rest for as long as upstream asked for."""
        self.not_before = max(self.not_before, now() + seconds)

    def fail(self, seconds: float) -> float:
        """Rest longer with each failure, by full jitter, at least `seconds`; return how long."""
        self.failures += 1
        longest = min(FIRST_PAUSE * (1 << min(self.failures - 1, 10)), LONGEST_PAUSE)
        pause = max(seconds, longest * self._chance())
        self.wait(pause)
        return pause

    def succeed(self) -> bool:
        """Start over; return whether there had been failures."""
        failures, self.failures = self.failures, 0
        return failures > 0

    def forget(self) -> None:
        """Let the next try come at once."""
        self.failures = 0
        self.not_before = float("-inf")


def now() -> float:
    """Return the second of the loop's clock."""
    return asyncio.get_running_loop().time()
