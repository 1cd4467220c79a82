"""Events on disk of projects that are not configured any more: nobody sends them, all see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy import logs
from proxy.events.event import UNKNOWN, Slip
from proxy.events.queue import Queue
from proxy.events.tally import Tally
from proxy.metrics import Metrics

log = logs.get("events")


class Strangers:
    """Shows what waits and what is lost, under the label that the project has on disk."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._configured: set[str] = set()
        self._tallies: dict[str, Tally] = {}

    def adopt(self, label: str) -> None:
        """Take note that a project is configured: it is no stranger, and shown under its name."""
        self._configured.add(label)
        if self._tallies.pop(label, None) is not None:
            self._metrics.events_pending.remove(label)
            self._metrics.events_pending_bytes.remove(label)

    def lose(self, label: str, reason: str, slips: Sequence[Slip]) -> None:
        """Count events of a project that are lost for good."""
        self._tally(label).drop(reason, len(slips), UNKNOWN.kind)

    def measure(self, queues: Mapping[str, Queue], now: float) -> None:
        """Bring the metrics up to date; of losses tell the log at most once a minute of `now`."""
        for label, queue in queues.items():
            if label in self._configured or not (queue.count or label in self._tallies):
                continue
            if label not in self._tallies:
                told = {"project": label, "events": queue.count}
                log.warning("events of a project that is not configured wait on disk", **told)
            tally = self._tally(label)
            self._metrics.events_pending.labels(label).set(queue.count)
            self._metrics.events_pending_bytes.labels(label).set(queue.size)
            tally.report_drops(now)

    def _tally(self, label: str) -> Tally:
        if label not in self._tallies:
            self._tallies[label] = Tally(label, self._metrics)
        return self._tallies[label]
