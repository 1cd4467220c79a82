"""How often each of many may come: token buckets in a table that does not grow. Pure."""

from __future__ import annotations

from typing import Final, final

MOST_KNOWN: Final = 65_536
LEAST_WAIT: Final = 1e-6
"""Less than this is an error of rounding."""


@final
class Rates:
    """So many a second for each name, and so many at once; whoever is not known may come.

    A bucket is one number: until when what was taken is paid for. At most `most` are kept; those
    that nobody asked about for the longest time are forgotten, half of them at a time.
    """

    def __init__(self, per_second: float, burst: float, most: int = MOST_KNOWN) -> None:
        self._pause = 1.0 / per_second
        self._slack = (burst - 1.0) * self._pause
        self._most_young = max(1, most // 2)
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def take(self, name: str, now: float) -> float:
        """Take one and return 0.0, or return after how many seconds there is one to be taken.

        `now` is in seconds of a clock that never goes back.
        """
        paid = self._young.get(name)
        if paid is None:
            if len(self._young) >= self._most_young:
                self._old, self._young = self._young, {}
            paid = self._old.pop(name, now)
        if paid < now:  # noqa: PLR1730  max() costs three times as much
            paid = now
        wait = paid - now - self._slack
        if wait > LEAST_WAIT:
            self._young[name] = paid
            return wait
        self._young[name] = paid + self._pause
        return 0.0

    def __len__(self) -> int:
        """How many names are known."""
        return len(self._young) + len(self._old)
