"""What Amplitude answered, kept for a while and within a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from proxy.relay.variants import Variants

ENTRY_BYTES: Final = 600
"""What an answer costs beside its bytes ..."""
MEMBER_BYTES: Final = 200
"""... and each of its members."""


class _Entry(NamedTuple):
    variants: Variants
    until: float
    size: int


class Cache:
    """Answers by what was asked; the one that nobody asked for longest gives way.

    Being asked for prolongs no life. `size` is about what all of them take in memory, in bytes.
    """

    def __init__(self, max_bytes: int, ttl_seconds: float, now: Callable[[], float]) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._now = now
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: bytes) -> Variants | None:
        """Return what was answered, None when it is not here any more."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        if entry.until <= self._now():
            self._drop(question)
            return None
        self._entries.move_to_end(question)
        return entry.variants

    def put(self, question: bytes, variants: Variants) -> None:
        """Keep an answer, unless it is larger than all that may be kept."""
        size = ENTRY_BYTES + sum(MEMBER_BYTES + len(member) for member in variants.values())
        if size > self._max_bytes or not self._ttl:
            return
        if question in self._entries:
            self._drop(question)
        self._entries[question] = _Entry(variants, self._now() + self._ttl, size)
        self.size += size
        while self.size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, question: bytes) -> None:
        self.size -= self._entries.pop(question).size
