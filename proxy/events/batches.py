"""What fits one request: as many of the first events as count and encoded bytes allow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.upstream.analytics import Limits

LOOK_AHEAD: Final = 2
"""How many batches' worth of events are looked through for those of the same options."""


def fitting(sizes: Iterable[int], limits: Limits) -> int:
    """Return how many of the first events, whose encoded sizes these are, go into one batch.

    One comma stands between events. At least one goes, if there is one: an event too large for
    any batch must not come as far as this.
    """
    count = 0
    room = limits.size
    for size in sizes:
        room -= size + (1 if count else 0)
        if count and (count >= limits.events or room < 0):
            break
        count += 1
    return count


def lowered(limits: Limits, refused: int) -> Limits:
    """Return the limits after a batch of `refused` events was too large: half as many events."""
    return Limits(events=max(1, (refused + 1) // 2), size=limits.size)


def without(limits: Limits, envelope: int) -> Limits:
    """Return what is left for the events when `envelope` bytes stand around them."""
    return Limits(events=limits.events, size=limits.size - envelope)
