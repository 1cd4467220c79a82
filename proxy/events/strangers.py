"""What is lost of projects that have events on disk, but are not configured any more."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.events.event import UNKNOWN, Slip
from proxy.events.tally import Tally
from proxy.metrics import Metrics


class Strangers:
    """Counts it under the label that the project is kept under on disk, and tells the log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tallies: dict[str, Tally] = {}

    def lose(self, label: str, reason: str, slips: Sequence[Slip]) -> None:
        """Count events of a project that are lost for good."""
        if label not in self._tallies:
            self._tallies[label] = Tally(label, self._metrics)
        self._tallies[label].drop(reason, len(slips), UNKNOWN.kind)

    def report(self, now: float) -> None:
        """Log what was lost since the last such line, at most once a minute of `now`."""
        for tally in self._tallies.values():
            tally.report_drops(now)
