"""One encoded event on its way, and what it counts for in every bound."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from proxy.upstream.analytics import SHORT_IDS

RECORD_BYTES: Final = 160
"""What an event costs beside its own bytes, in memory and on disk."""

ASSIGNMENT: Final = "assignment"
EXPOSURE: Final = "exposure"
INGEST: Final = "ingest"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One encoded event; its number counts up within a process and says which was offered first.

    `at` is the second since 1970 when it was offered, `key` its identity in the filter of its
    `kind`; a request carries events of the same `options` only.
    """

    number: int
    body: bytes
    at: float
    key: int = 0
    kind: str = ASSIGNMENT
    options: bytes = SHORT_IDS

    @property
    def size(self) -> int:
        """What it counts for in bounds."""
        return len(self.body) + RECORD_BYTES

    @property
    def slip(self) -> Slip:
        """What to remember of it without its body."""
        return Slip(self.number, self.kind, self.key, self.size)


class Slip(NamedTuple):
    """An event without its body."""

    number: int
    kind: str
    key: int
    size: int


UNKNOWN: Final = Slip(0, "", 0, 0)
"""An event of which nothing is known any more but that it was there."""
