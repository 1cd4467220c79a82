"""Every metric on one page. Names without labels at the top are the official proxy's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from proxy.instruments import LATENCY_SECONDS, PREFIX, LoopCounter, LoopHistogram, RequestTimes

OFFICIAL_COUNTERS = {
    "request": "Requests to the client port.",
    "request_error": "Requests to the client port answered other than 2xx or 304.",
    "evaluation_request": "Requests for remote evaluation.",
    "evaluation_request_error": "Requests for remote evaluation answered other than 2xx.",
    "get_flags_request": "Requests for flag configs.",
    "get_flags_request_error": "Requests for flag configs answered other than 2xx or 304.",
    "get_cohort_request": "Requests for a cohort.",
    "get_cohort_request_error": "Requests for a cohort answered other than 2xx.",
    "get_members_request": "Requests for memberships.",
    "get_members_request_error": "Requests for memberships answered other than 2xx.",
    "evaluation": "Evaluations of a user.",
    "evaluation_failure": "Evaluations that raised an error.",
    "assignment": "Assignments offered for tracking.",
    "assignment_filter": "Assignments removed because the same one was tracked within 24 hours.",
    "assignment_send": "Assignment events that Amplitude acknowledged.",
    "assignment_send_failure": "Assignment events that were lost for good.",
    "exposure": "Exposures offered for tracking.",
    "exposure_filter": "Exposures removed because the same one was tracked within 24 hours.",
    "exposure_send": "Exposure events that Amplitude acknowledged.",
    "exposure_send_failure": "Exposure events that were lost for good.",
    "deployments_fetch": "Calls of the management API.",
    "deployments_fetch_failure": "Calls of the management API that failed.",
    "flags_fetch": "Fetches of flag configs.",
    "flags_fetch_failure": "Fetches of flag configs that failed.",
    "cohort_download": "Downloads of cohorts.",
    "cohort_download_failure": "Downloads of cohorts that failed.",
    "redis_command": "Redis commands.",
    "redis_command_failure": "Redis commands that failed.",
}

LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
EVALUATION_SECONDS = (2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 1e-1)


class Metrics:
    """All metrics of one process, on a registry of their own, so that tests do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.official = {
            name: LoopCounter(PREFIX + name, meaning) for name, meaning in OFFICIAL_COUNTERS.items()
        }
        for official in self.official.values():
            self.registry.register(official)
        self.build_info = self._gauge(
            "build_info", "1 for the version that runs.", "version", "python"
        )
        self.loop_deaths = self._counter(
            "loop_deaths", "Background loops that ended on an error and were restarted.", "loop"
        )
        self._serve()
        self._sync()
        self._keep()
        self._report()

    def _serve(self) -> None:
        self.http_seconds = RequestTimes()
        self.registry.register(self.http_seconds)
        self.http_active = self._gauge("http_server_requests_active", "Requests being answered.")
        evaluation_seconds = LoopHistogram(
            PREFIX + "evaluation_duration_seconds",
            "Time to evaluate a user and encode the answer.",
            EVALUATION_SECONDS,
        )
        self.registry.register(evaluation_seconds)
        self.evaluation_seconds = evaluation_seconds.labels()
        self.downloads_active = self._gauge("downloads_active", "Cohorts being sent to clients.")
        self.downloads_cut = self._counter(
            "downloads_cut", "Cohorts of which a client got only a part, by reason.", "reason"
        )
        self.tls_expiry = self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the clients' port's certificate expires, in seconds since 1970; 0 without TLS.",
        )
        self.tls_reloads = self._counter(
            "tls_reloads", "Times that changed TLS files were read: done or failed.", "outcome"
        )
        self.rejected = self._counter(
            "rejected_requests", "Requests refused before they reached a handler.", "reason"
        )
        self.regex_timeouts = self._counter(
            "regex_timeouts", "Pattern matches given up for taking too long.", "flag"
        )

    def _sync(self) -> None:
        self.snapshot_age = self._gauge(
            "snapshot_age_seconds",
            "Seconds since upstream last confirmed the flag configs in force.",
            "deployment",
        )
        self.snapshot_info = self._gauge(
            "snapshot_info",
            "1 for the version hash of the flags in force.",
            "deployment",
            "version",
        )
        self.flags_in_force = self._gauge("flags", "Flags in force.", "deployment")
        self.flags_left_out = self._gauge(
            "flags_left_out", "Flags that cannot be used as they came.", "deployment"
        )
        self.sync_outcomes = self._counter(
            "sync_outcomes",
            "Attempts to sync, by what was asked for and how it ended.",
            "what",
            "outcome",
        )
        self.stream_connected = self._gauge(
            "stream_connected", "1 while the flag stream delivers, else 0.", "deployment"
        )
        self.compile_seconds = self._histogram(
            "compile_duration_seconds",
            "Time to decode and compile a deployment's flags.",
            LATENCY_SECONDS,
        )

    def _keep(self) -> None:
        self.cohorts = self._gauge(
            "cohorts", "Cohorts that flags target: here, loading or missing.", "project", "state"
        )
        self.cohort_members = self._gauge(
            "cohort_members", "Members of all cohorts that are here.", "project"
        )
        self.cohort_oldest_age = self._gauge(
            "cohort_oldest_age_seconds",
            "Seconds since upstream confirmed the cohort that was confirmed longest ago.",
            "project",
        )
        self.cohort_load_seconds = self._histogram(
            "cohort_load_seconds",
            "Time to download a cohort and build its index.",
            LOAD_SECONDS,
        )
        self.cohort_bytes = self._counter(
            "cohort_bytes", "Bytes of cohorts as they came on the wire.", "project"
        )
        self.store_ok = self._gauge(
            "store_ok", "1 while the data directory holds the present state, else 0."
        )
        self.store_bytes = self._gauge("store_bytes", "Bytes of files in the data directory.")
        self.store_commits = self._counter("store_commits", "Commits to the data directory.")
        self.store_failures = self._counter(
            "store_failures", "What the data directory did not do or give, by reason.", "reason"
        )

    def _report(self) -> None:
        self.events = self._counter(
            "events",
            "Events by what became of them: offered, skipped, filtered, spooled (written to disk),"
            " sent, retried or held.",
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

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, buckets=buckets, registry=self.registry)
