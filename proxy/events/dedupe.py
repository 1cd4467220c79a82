"""Was this told within a day? A bounded memory of 128-bit keys; the clock is a parameter.

A ring holds the keys in the order in which they came, a hash table (linear probing, at most half
full) finds them. Both are flat memory of a fixed size: about 32 bytes per key, nothing for the
garbage collector, no pause for growing, and no page is touched before it is needed.
"""

from __future__ import annotations

import mmap
from typing import Final, NamedTuple

DAY_SECONDS: Final = 86_400.0
_LOW: Final = 0xFFFFFFFFFFFFFFFF


class Term(NamedTuple):
    """How long a key counts as told: it came `at` a second, gives way to the `last` one added."""

    at: float
    last: int


class Dedupe:
    """Remembers the last `capacity` keys that were new, each for `life` seconds from then on.

    `added` counts the keys that were ever new, `forgotten` how often one was taken back.
    """

    def __init__(self, capacity: int, life_seconds: float = DAY_SECONDS) -> None:
        self.life = life_seconds
        self.added = 0
        self.forgotten = 0
        self._capacity = capacity
        slots = 1 << max(capacity * 2 - 1, 1).bit_length()
        self._mask = slots - 1
        self._table = _memory(slots * 4).cast("I")  # position in the ring + 1; 0 is empty
        self._lows = _memory(capacity * 8).cast("Q")
        self._highs = _memory(capacity * 8).cast("Q")
        self._times = _memory(capacity * 8).cast("d")
        self._next = 0
        self._wrapped = False

    def first(self, key: int, at: float) -> bool:
        """Return whether `key` is new at the second `at`; if so, remember it in the same step."""
        if not self._capacity:
            return True
        slot = self._find(key)
        if slot is not None:
            # A clock that was ahead and was put back must not silence anybody for longer.
            if abs(at - self._times[self._table[slot] - 1]) < self.life:
                return False
            self._clear(slot)
        self._remember(key & _LOW, key >> 64, at)
        return True

    def forget(self, key: int) -> None:
        """Take a key back, so that it is new again."""
        if not self._capacity:
            return
        slot = self._find(key)
        if slot is not None:
            self.forgotten += 1
            self._clear(slot)

    def term(self, key: int) -> Term | None:
        """Return how long a key is remembered unless one is forgotten; None when it is not."""
        slot = self._find(key) if self._capacity else None
        if slot is None:
            return None
        position = self._table[slot] - 1
        younger = (self._next - 1 - position) % self._capacity
        return Term(self._times[position], self.added - younger + self._capacity)

    def _find(self, key: int) -> int | None:
        table, lows, mask = self._table, self._lows, self._mask
        low = key & _LOW
        slot = low & mask
        while entry := table[slot]:
            if lows[entry - 1] == low and self._highs[entry - 1] == key >> 64:
                return slot
            slot = (slot + 1) & mask
        return None

    def _remember(self, low: int, high: int, at: float) -> None:
        position = self._next
        if self._wrapped:
            self._evict(position)
        self._lows[position] = low
        self._highs[position] = high
        self._times[position] = at
        slot = low & self._mask
        while self._table[slot]:
            slot = (slot + 1) & self._mask
        self._table[slot] = position + 1
        self.added += 1
        self._next = position + 1
        if self._next == self._capacity:
            self._next = 0
            self._wrapped = True

    def _evict(self, position: int) -> None:
        # A key that was taken back or renewed is in the ring still, but no longer in the table.
        slot = self._lows[position] & self._mask
        while entry := self._table[slot]:
            if entry == position + 1:
                self._clear(slot)
                return
            slot = (slot + 1) & self._mask

    def _clear(self, hole: int) -> None:
        # Whatever stands behind the hole and could not be found any more moves up into it.
        table, mask = self._table, self._mask
        probe = (hole + 1) & mask
        while entry := table[probe]:
            home = self._lows[entry - 1] & mask
            if (probe - home) & mask >= (probe - hole) & mask:
                table[hole] = entry
                hole = probe
            probe = (probe + 1) & mask
        table[hole] = 0


def _memory(size: int) -> memoryview:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return memoryview(mmap.mmap(-1, max(size, 8), flags=private))
