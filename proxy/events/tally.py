"""What became of one project's events: plain numbers for the request, metrics for the operator."""

from __future__ import annotations

from typing import Any, Final

from proxy import logs
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.metrics import Metrics

OUTCOMES: Final = ("offered", "skipped", "filtered", "spooled", "sent", "retried", "held")
OFFICIAL_KINDS: Final = (ASSIGNMENT, EXPOSURE)
FROM_REQUESTS: Final = ("offered", "skipped", "filtered")
REASONS: Final = (
    "damaged",  # the spool on disk was of no use any more
    "error",  # a defect of ours, while the event was made
    "full",  # too many bytes were waiting
    "invalid",  # upstream said that this event is wrong
    "invalid_api_key",
    "long_id",  # an id of more than 1024 characters
    "missing_field",  # upstream said that the request is wrong
    "quota",  # the user's or device's daily quota is used up
    "refused",  # upstream refused it and did not say why
    "silenced",  # the device is silenced upstream
    "stopped",  # the process ended first, and there was no disk
    "too_large",  # larger than a request may be
    "too_old",
)
LOG_SECONDS: Final = 60.0

log = logs.get("events")


class Tally:
    """Counts for one project; the request only ever adds to `offered`, `skipped`, `filtered`."""

    def __init__(self, project: str, metrics: Metrics) -> None:
        self.offered = 0
        self.skipped = 0
        self.filtered = 0
        self._project = project
        self._official = metrics.official
        self._events = {name: metrics.events.labels(project, name) for name in OUTCOMES}
        self._drops = {name: metrics.events_dropped.labels(project, name) for name in REASONS}
        self._counted = dict.fromkeys(OUTCOMES, 0)
        self._dropped: dict[str, int] = {}
        self._unlogged: dict[str, int] = {}
        self._logged_at = float("-inf")

    def count(self, outcome: str, number: int, kind: str = ASSIGNMENT) -> None:
        """Count events that were spooled, sent, retried or held."""
        self._counted[outcome] += number
        self._events[outcome].inc(number)
        if outcome == "sent" and kind in OFFICIAL_KINDS:
            self._official[f"{kind}_send"].inc(number)

    def drop(self, reason: str, number: int, kind: str = ASSIGNMENT) -> None:
        """Count events that are lost for good."""
        self._dropped[reason] = self._dropped.get(reason, 0) + number
        self._unlogged[reason] = self._unlogged.get(reason, 0) + number
        self._drops[reason].inc(number)
        if kind in OFFICIAL_KINDS:
            self._official[f"{kind}_send_failure"].inc(number)

    def measure(self) -> None:
        """Bring the metrics up to what requests have counted."""
        for name in FROM_REQUESTS:
            more = getattr(self, name) - self._counted[name]
            self._counted[name] += more
            self._events[name].inc(more)
            if name == "offered":
                self._official["assignment"].inc(more)
            elif name == "filtered":
                self._official["assignment_filter"].inc(more)

    def report_drops(self, now: float) -> None:
        """Log what was lost since the last such line, at most once a minute of `now`."""
        if self._unlogged and now - self._logged_at >= LOG_SECONDS:
            log.error("events lost", project=self._project, **self._unlogged)
            self._unlogged = {}
            self._logged_at = now

    def counts(self) -> dict[str, Any]:
        """Return all counts for the status page."""
        from_requests = {name: getattr(self, name) for name in FROM_REQUESTS}
        return {**self._counted, **from_requests, "dropped": dict(self._dropped)}
