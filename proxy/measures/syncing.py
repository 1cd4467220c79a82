"""How flags and cohorts arrive and are kept."""

from __future__ import annotations

from proxy.instruments import LATENCY_SECONDS, LOAD_SECONDS
from proxy.measures.registered import Registered


class Syncing(Registered):
    """How flags and cohorts arrive and are kept."""

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
        self.offline_ok = self._gauge(
            "offline_ok",
            "1 while the newest that was found is served offline, 0 while it was refused; absent"
            " while Amplitude is asked.",
            "kind",
        )
        self.offline_age = self._gauge(
            "offline_age_seconds",
            "Seconds since Amplitude last confirmed something of what is served offline.",
            "kind",
        )
        self.offline_reads = self._counter(
            "offline_reads",
            "What was found offline, by whether it was served: changed, unchanged, or why not.",
            "outcome",
        )
        self.store_ok = self._gauge(
            "store_ok", "1 while the data directory holds the present state, else 0."
        )
        self.store_bytes = self._gauge("store_bytes", "Bytes of files in the data directory.")
        self.store_commits = self._counter("store_commits", "Commits to the data directory.")
        self.store_failures = self._counter(
            "store_failures", "What the data directory did not do or give, by reason.", "reason"
        )
