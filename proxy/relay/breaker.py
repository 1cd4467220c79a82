"""A breaker: after failures in a row nobody is asked for a while, then one tries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST_FAILURES: Final = 5
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
MOST_DOUBLINGS: Final = 10


class Breaker:
    """Closed, or open until a time and then for one call at a time, until one succeeds.

    A call takes a *turn* and says how it ended; what was begun before the last change of state
    has no say any more. Times are seconds of the clock that is passed in.
    """

    def __init__(self, now: Callable[[], float], chance: Callable[[], float]) -> None:
        self._now = now
        self._chance = chance
        self._turn = 0
        self._failures = 0
        self._rests = 0
        self._until = 0.0
        self._is_tried = False

    @property
    def is_open(self) -> bool:
        """Whether calls have to stay away, or only one is let through."""
        return self._rests > 0

    @property
    def is_as_new(self) -> bool:
        """Whether a new one would do as well."""
        return not self._failures and not self.is_open

    @property
    def seconds_left(self) -> float:
        """How long nobody will be asked."""
        return max(self._until - self._now(), 0.0) if self.is_open else 0.0

    def lets_in(self) -> bool:
        """Tell whether `begin` would give a turn now."""
        return not self.is_open or (not self._is_tried and self._until <= self._now())

    def begin(self) -> int | None:
        """Return a turn, or None when nobody is to be asked."""
        if not self.lets_in():
            return None
        self._is_tried = self.is_open
        return self._turn

    def succeed(self, turn: int) -> bool:
        """Let everybody in; return whether that is news."""
        if turn != self._turn:
            return False
        was_open, self._failures = self.is_open, 0
        if was_open:
            self._change(0)
        return was_open

    def fail(self, turn: int, rest: float | None = None) -> bool:
        """Count a failure; return whether nobody is asked from now on.

        With `rest` that is so at once, for at least so many seconds. The pauses double, and
        chance makes each shorter, so that not all instances come back together.
        """
        if turn != self._turn:
            return False
        self._failures += 1
        if not self.is_open and rest is None and self._failures < MOST_FAILURES:
            return False
        longest = min(FIRST_PAUSE * (1 << min(self._rests, MOST_DOUBLINGS)), LONGEST_PAUSE)
        self._until = self._now() + max(rest or 0.0, longest * self._chance())
        self._change(self._rests + 1)
        return True

    def give_up(self, turn: int) -> None:
        """Return a turn of which nothing was learnt."""
        if turn == self._turn:
            self._is_tried = False

    def _change(self, rests: int) -> None:
        self._rests = rests
        self._turn += 1
        self._is_tried = False
