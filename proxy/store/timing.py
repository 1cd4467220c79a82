"""When the next commit is due: pure, with time handed in."""

from __future__ import annotations

import math
from typing import final

import msgspec

from proxy.errors import Hindered
from proxy.store.trouble import LOCKED

MOST_DOUBLINGS = 10


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """All times of this room, in seconds."""

    commit: float = 0.5
    """The least pause between commits, however many changes stream in."""
    soft: float = 60.0
    """The longest that a soft change waits; so often, too, the directory is looked through."""
    first_retry: float = 1.0
    """The pause after something stood in the way; it doubles each time."""
    longest_retry: float = 30.0
    """The longest such pause."""
    locked_retry: float = 5.0
    """The longest such pause while another instance holds the directory."""
    close: float = 5.0
    """How long the last commit may take."""


@final
class Timing:
    """Says how long to wait until the next attempt; `now` is in seconds of any clock."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._failures = 0
        self._last = -math.inf
        self._checked = -math.inf
        self._retry = 0.0

    def attempted(self, now: float, why: Hindered | None = None) -> None:
        """Note how an attempt ended."""
        self._last = now
        self._failures = 0 if why is None else self._failures + 1
        if why is not None:
            doubled = self.pace.first_retry * 2 ** min(self._failures - 1, MOST_DOUBLINGS)
            longest = self.pace.longest_retry
            if why.reason == LOCKED:
                longest = min(longest, self.pace.locked_retry)
            self._retry = min(doubled, longest)

    def pause(self, now: float, *, changed: bool) -> float:
        """Return the seconds until an attempt is due; nothing or less: it is due."""
        regular = self.pace.commit if changed else self.pace.soft
        return self._last + (self._retry if self._failures else regular) - now

    def checks(self, now: float) -> bool:
        """Tell whether it is time to look through the directory; a yes counts as done."""
        if now - self._checked < self.pace.soft:
            return False
        self._checked = now
        return True

    def doubt(self) -> None:
        """Let the directory be looked through at the next attempt."""
        self._checked = -math.inf
