"""What becomes of events."""

from __future__ import annotations

from proxy.instruments import LATENCY_SECONDS
from proxy.measures.registered import Registered


class Reporting(Registered):
    """What becomes of events."""

    def _report(self) -> None:
        self.events = self._counter(
            "events",
            "Events by what became of them: found (left by an earlier process), accepted (made of"
            " an answer, or uploaded), withdrawn (of a refused upload), spooled (written to disk),"
            " sent, retried or held. found + accepted = sent + withdrawn + `events_dropped` +"
            " `events_pending`.",
            "project",
            "outcome",
        )
        self.offline_untaken = self._counter(
            "offline_events_not_taken",
            "Answers and uploads that no event was made of, as `offline.events` is `drop`.",
            "what",
        )
        self.event_answers = self._counter(
            "event_answers",
            "Answers by whether events tell of them: offered = skipped (there is nothing to tell)"
            " + filtered (told within 24 hours) + told.",
            "project",
            "outcome",
        )
        self.events_dropped = self._counter(
            "events_dropped", "Events lost for good, by reason.", "project", "reason"
        )
        self.events_pending = self._gauge("events_pending", "Events waiting to be sent.", "project")
        self.events_pending_bytes = self._gauge(
            "events_pending_bytes", "Bytes of the events waiting to be sent.", "project"
        )
        self.events_oldest_age = self._gauge(
            "events_oldest_age_seconds", "Age of the oldest event waiting to be sent.", "project"
        )
        self.spool_on_disk = self._gauge(
            "spool_on_disk", "1 while waiting events are written to disk, 0 while memory has them."
        )
        self.spool_bytes = self._gauge("spool_bytes", "Bytes of the disk that the spool uses.")
        self.spool_failures = self._counter(
            "spool_failures",
            "Failures of the spool's disk: unusable for now, hanging, or damaged.",
            "reason",
        )
        self.unsafe_answers = self._counter(
            "unsafe_answers", "Answers that did not wait for a disk, though `commitMillis` is 0."
        )
        self.spool_commit_seconds = self._histogram(
            "spool_commit_seconds", "Time to write waiting events to disk.", LATENCY_SECONDS
        )
