"""The last events of a process."""

from __future__ import annotations

import asyncio

from proxy import tasks
from proxy.events.tracker import Tracker
from proxy.run.stop import Stop

SHARE_OF_REQUESTS = 0.6
"""The part of the drain deadline that requests may take; the rest is left for events."""


async def flush(tracker: Tracker, stop: Stop, seconds: float) -> None:
    """Send the events that wait: in what is left of `seconds`, or not at all when hurried."""
    least = seconds * (1 - SHARE_OF_REQUESTS)
    flushing = tasks.start("flush", _all(tracker, max(stop.seconds_left(seconds), least)))
    hurrying = tasks.start("hurry", _set(stop.hurry))
    await asyncio.wait((flushing, hurrying), return_when=asyncio.FIRST_COMPLETED)
    was_cut_off = not flushing.done() or flushing.exception() is not None
    await tasks.stop(flushing, hurrying)
    if was_cut_off:
        # What is left is dropped here, and counted.
        await tracker.flush(0.0)


async def _all(tracker: Tracker, seconds: float) -> None:
    await tracker.flush(seconds)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
