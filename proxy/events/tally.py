"""What became of one project's events: plain numbers for the request, metrics for the operator.

Two laws hold at every moment, save for answers whose events are not made yet:

    offered = skipped + filtered + told                          in answers
    found + accepted = sent + dropped + withdrawn + pending      in events
"""

from __future__ import annotations

from typing import Any, Final

from proxy import logs
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.metrics import Metrics

EVENTS: Final = ("found", "accepted", "withdrawn", "spooled", "sent", "retried", "held")
ANSWERS: Final = ("offered", "skipped", "filtered", "told")
OFFICIAL_KINDS: Final = (ASSIGNMENT, EXPOSURE)
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
NEVER_MADE: Final = frozenset({"error", "long_id"})
"""Why there is no event of an answer that should be told of; it counts as one all the same."""
LOG_SECONDS: Final = 60.0

log = logs.get("events")


class Offers:
    """What requests count, in answers: offered, with nothing to tell, told before, told now."""

    __slots__ = ANSWERS

    def __init__(self) -> None:
        self.offered = 0
        self.skipped = 0
        self.filtered = 0
        self.told = 0


class Tally:
    """Counts for one project; requests only ever add to `of` their kind of event.

    `accepted` is a plain number, too: it is added to for each event.
    """

    def __init__(self, project: str, metrics: Metrics) -> None:
        self.accepted = 0
        self.of = {kind: Offers() for kind in OFFICIAL_KINDS}
        self._project = project
        self._official = metrics.official
        self._events = {name: metrics.events.labels(project, name) for name in EVENTS}
        self._answers = {name: metrics.event_answers.labels(project, name) for name in ANSWERS}
        self._drops = {name: metrics.events_dropped.labels(project, name) for name in REASONS}
        self._counted = dict.fromkeys(EVENTS, 0)
        self._shown = {(kind, name): 0 for kind in OFFICIAL_KINDS for name in ANSWERS}
        self._dropped: dict[str, int] = {}
        self._unlogged: dict[str, int] = {}
        self._logged_at = float("-inf")

    def count(self, outcome: str, number: int, kind: str = ASSIGNMENT) -> None:
        """Count events by what became of them."""
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
            if reason in NEVER_MADE:
                self.of[kind].told += number
                self.accepted += number

    def measure(self) -> None:
        """Bring the metrics up to the plain numbers."""
        accepted, self._counted["accepted"] = self._counted["accepted"], self.accepted
        self._events["accepted"].inc(self.accepted - accepted)
        for (kind, name), shown in self._shown.items():
            now = getattr(self.of[kind], name)
            more, self._shown[kind, name] = now - shown, now
            self._answers[name].inc(more)
            if name in OFFICIAL_NAMES:
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
            name: sum(getattr(offers, name) for offers in self.of.values()) for name in ANSWERS
        }
        counted = {**from_requests, **self._counted, "accepted": self.accepted}
        return {**counted, "dropped": dict(self._dropped)}
