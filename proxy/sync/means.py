"""What the loops work with: the same for all, and one desk for each deployment."""

from __future__ import annotations

import random
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


@final
class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What every loop needs; `seed` makes this instance's chance its own, and repeatable."""

    client: UpstreamClient
    board: Board
    metrics: Metrics
    timings: Timings
    gate: Gate
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
