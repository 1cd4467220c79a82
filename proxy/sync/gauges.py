"""The gauges of each deployment: set when something changed, gone with the deployment."""

from __future__ import annotations

from typing import final

from proxy.metrics import Metrics
from proxy.snapshots.board import Slot
from proxy.tasks import Clock


@final
class Gauges:
    """The gauges of one deployment; they follow its label when upstream renames it."""

    def __init__(self, slot: Slot, metrics: Metrics, clock: Clock) -> None:
        self._slot = slot
        self._metrics = metrics
        self._clock = clock
        self._label = slot.deployment.label
        self._version: str | None = None
        self._delivers = False

    def show(self, left_out: int | None = None) -> None:
        """Show the present state under the present label, and nothing under an old one.

        `left_out` is for a body of which nothing came into force.
        """
        label = self._slot.deployment.label
        if label != self._label:
            self.remove()
            self._label = label
        self._metrics.stream_connected.labels(label).set(self._delivers)
        if left_out is not None:
            self._metrics.flags_left_out.labels(label).set(left_out)
        snapshot = self._slot.snapshot
        if snapshot is None or left_out is not None:
            return
        compiled = snapshot.compiled
        self._metrics.flags_in_force.labels(label).set(len(compiled.flags))
        self._metrics.flags_left_out.labels(label).set(len(compiled.problems))
        self._metrics.snapshot_age.labels(label).set_function(self._age)
        if self._version is not None and self._version != compiled.version:
            self._metrics.snapshot_info.remove(label, self._version)
        self._version = compiled.version
        self._metrics.snapshot_info.labels(label, compiled.version).set(1)

    def stream(self, *, delivers: bool) -> None:
        """Show whether the stream delivers."""
        self._delivers = delivers
        self._metrics.stream_connected.labels(self._slot.deployment.label).set(delivers)

    def remove(self) -> None:
        """Take every series of the deployment away."""
        metrics = self._metrics
        for gauge in (
            metrics.stream_connected,
            metrics.flags_in_force,
            metrics.flags_left_out,
            metrics.snapshot_age,
        ):
            gauge.remove(self._label)
        if self._version is not None:
            metrics.snapshot_info.remove(self._label, self._version)
            self._version = None

    def _age(self) -> float:
        return self._clock() - (self._slot.confirmed_at or 0.0)
