"""How much work the patterns of one evaluation may cause, counted without a clock."""

from __future__ import annotations

QUICK_SECONDS = 0.0002
"""How long backtracking may take at first; sound patterns end far below."""

SLOW_SECONDS = 0.005
"""How long backtracking may take at its second attempt, which the budget must grant."""

_STEPS = 2_000_000
"""Steps of the linear engine in one evaluation; a step takes 1 to 10 ns, so 20 ms at worst."""

_QUICK = 32
"""Quick attempts that may run out of time in one evaluation; then backtracking ends at once."""

_SLOW = 2.0
_SLOW_REFILL = 0.2
"""Slow attempts: this many in a row, later one in five evaluations.

So hostile texts that come with each request cost a millisecond each and not ten; only matches
that need more than the quick attempt ever notice.
"""


class Budget:
    """What the patterns of one deployment may still spend in the evaluation at hand.

    One evaluation at a time: `begin` it, then match. Whatever hundreds of patterns and hostile
    texts meet, an evaluation spends some 40 ms on them at worst, and on average far less.
    """

    __slots__ = ("quick", "slow", "steps")

    def __init__(self) -> None:
        self.steps = _STEPS
        self.quick = _QUICK
        self.slow = _SLOW

    def begin(self) -> None:
        """Begin the next evaluation."""
        self.steps = _STEPS
        self.quick = _QUICK
        if self.slow < _SLOW:
            self.slow = min(_SLOW, self.slow + _SLOW_REFILL)

    def take_slow(self) -> bool:
        """Take the right to one slow attempt; False when there is none left."""
        if self.slow < 1:
            return False
        self.slow -= 1
        return True
