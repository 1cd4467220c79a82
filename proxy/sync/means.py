"""What the loops work with: the same for all, and one desk for each deployment."""

from __future__ import annotations

import asyncio
import random
import resource
from typing import final

import msgspec

from proxy.metrics import Metrics
from proxy.snapshots.board import Board, Slot
from proxy.sync.gate import Gate
from proxy.sync.gauges import Gauges
from proxy.sync.intake import Intake
from proxy.sync.journal import Journal
from proxy.sync.schedule import Draw, Timings
from proxy.tasks import Clock
from proxy.upstream.client import UpstreamClient

UNLIMITED = 1_000_000


@final
class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What every loop needs; `seed` makes this instance's chance its own, and repeatable."""

    client: UpstreamClient
    board: Board
    metrics: Metrics
    timings: Timings
    gate: Gate
    """Whose turn it is to fetch its first flags."""
    openings: Gate
    """Whose turn it is to open a stream; streams that hang must not hold up first flags."""
    seats: asyncio.Semaphore
    """Held by each stream; the rest of the files is for clients, polls and events."""
    clock: Clock
    seed: str

    def draw(self, name: str) -> Draw:
        """Return a source of chance for the loop called `name`."""
        return random.Random(f"{self.seed}/{name}").random  # noqa: S311  spreads load, no secret

    def journal(self, label: str) -> Journal:
        """Return a new journal."""
        return Journal(label, self.metrics, self.clock)


@final
class Desk:
    """What the loops of one deployment share."""

    def __init__(self, slot: Slot, means: Means) -> None:
        self.slot = slot
        self.key = slot.deployment.key
        self.gauges = Gauges(slot, means.metrics, means.clock)
        self.intake = Intake(slot, means.board, self.gauges, means.metrics, means.clock)
        self.journal = means.journal(slot.deployment.label)
        self.draw = means.draw(self.key.label)


def seats_for(most_streams: int | None) -> asyncio.Semaphore:
    """Return the seats for so many streams; for None as `Timings.most_streams` says."""
    if most_streams is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most_streams = UNLIMITED if files == resource.RLIM_INFINITY else files // 2
    return asyncio.Semaphore(most_streams)
