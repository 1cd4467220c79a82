"""What the loops of one deployment share."""

from __future__ import annotations

from typing import final

from proxy.snapshots.board import Slot
from proxy.sync.gauges import Gauges
from proxy.sync.intake import Intake
from proxy.sync.means import Means
from proxy.sync.needs import Cohorts


@final
class Desk:
    """The place where one deployment's flags are seen to; `cohorts` are its project's."""

    def __init__(self, slot: Slot, means: Means, cohorts: Cohorts) -> None:
        self.slot = slot
        self.key = slot.deployment.key
        self.cohorts = cohorts
        self.gauges = Gauges(slot, means.metrics, means.clock)
        self.intake = Intake(slot, means, self.gauges, cohorts)
        self.journal = means.journal(slot.deployment.label)
        self.draw = means.draw(self.key.label)
