"""What became of one project's events: plain numbers for the request, metrics for the operator."""

from __future__ import annotations

from typing import Any, Final

from proxy import logs
from proxy.events.event import ASSIGNMENT, EXPOSURE, KINDS
from proxy.metrics import Metrics

OUTCOMES: Final = ("offered", "skipped", "filtered", "spooled", "sent", "retried", "held")
OFFICIAL_KINDS: Final = (ASSIGNMENT, EXPOSURE)
FROM_REQUESTS: Final = ("offered", "skipped", "filtered")
OFFICIAL_NAMES: Final = {"offered": "", "filtered": "_filter"}
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


class Offers:
    """What requests count: evaluations or events offered, with nothing to tell, told before."""

    __slots__ = FROM_REQUESTS

    def __init__(self) -> None:
        self.offered = 0
        self.skipped = 0
        self.filtered = 0


class Tally:
    """Counts for one project; requests only ever add to `of` their kind of event."""

    def __init__(self, project: str, metrics: Metrics) -> None:
        self.of = {kind: Offers() for kind in KINDS}
        self._project = project
        self._official = metrics.official
        self._events = {name: metrics.events.labels(project, name) for name in OUTCOMES}
        self._drops = {name: metrics.events_dropped.labels(project, name) for name in REASONS}
        self._counted = dict.fromkeys(OUTCOMES, 0)
        self._shown = {(kind, name): 0 for kind in KINDS for name in FROM_REQUESTS}
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
        for (kind, name), shown in self._shown.items():
            now = getattr(self.of[kind], name)
            more, self._shown[kind, name] = now - shown, now
            self._events[name].inc(more)
            if kind in OFFICIAL_KINDS and name in OFFICIAL_NAMES:
                self._official[kind + OFFICIAL_NAMES[name]].inc(more)

    def report_drops(self, now: float) -> None:
        """Log what was lost since the last such line, at most once a minute of `now`."""
        if self._unlogged and now - self._logged_at >= LOG_SECONDS:
            log.error("events lost", project=self._project, **self._unlogged)
            self._unlogged = {}
            self._logged_at = now

    def counts(self) -> dict[str, Any]:
        """Return all counts for the status page."""
        from_requests = {
            name: sum(getattr(offers, name) for offers in self.of.values())
            for name in FROM_REQUESTS
        }
        return {**self._counted, **from_requests, "dropped": dict(self._dropped)}
