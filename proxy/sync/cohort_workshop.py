"""What the cohorts loops of all projects share."""

from __future__ import annotations

import random
import secrets
from typing import final

import msgspec

from proxy.cohorts.builder import Builder
from proxy.cohorts.shelf import Shelf
from proxy.metrics import Metrics
from proxy.store.store import Store
from proxy.sync.cohort_verdicts import CohortTimings
from proxy.sync.journal import Journal, Voice
from proxy.sync.schedule import Draw
from proxy.sync.turns import Turns
from proxy.tasks import Clock, wall_clock
from proxy.upstream.client import UpstreamClient

PARALLEL = 4


@final
class Workshop(msgspec.Struct, kw_only=True):
    """The means to load cohorts; make one for all projects, as its bounds hold over all.

    `seed` makes this instance's chance its own, and repeatable. Of all this only the timings and
    the greatest size ever change.
    """

    client: UpstreamClient
    shelf: Shelf
    store: Store
    builder: Builder
    metrics: Metrics
    timings: CohortTimings
    max_size: int
    clock: Clock = wall_clock
    seed: str = msgspec.field(default_factory=lambda: secrets.token_hex(8))
    turns: Turns = msgspec.field(default_factory=lambda: Turns(PARALLEL))
    """Whose turn it is to load; held until the cohort is built, which bounds what lies on disk."""

    def draw(self, name: str) -> Draw:
        """Return a source of chance for the loop called `name`."""
        return random.Random(f"{self.seed}/{name}").random  # noqa: S311  spreads load, no secret

    def journal(self, label: str, voice: Voice) -> Journal:
        """Return a new journal that tells of trouble by `voice`."""
        return Journal(label, self.metrics, self.clock, voice)
