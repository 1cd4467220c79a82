"""How many bytes of long bodies are held at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class Holding:
    """Counts what is held; beyond `most` bytes nothing more is taken."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, size: int) -> bool:
        """Count so many bytes as held if there is room; return whether there is."""
        has_room = self._held + size <= self._most
        self._held += size if has_room else 0
        return has_room

    def give_back(self, size: int) -> None:
        """Count so many bytes as held no longer."""
        self._held -= size

    @contextmanager
    def during(self, size: int) -> Iterator[bool]:
        """Take until the block is left; yield whether there is room."""
        has_room = self.take(size)
        try:
            yield has_room
        finally:
            self.give_back(size if has_room else 0)
