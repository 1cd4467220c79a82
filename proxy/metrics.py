"""Every metric on one page. Names without labels at the top are the official proxy's."""

from __future__ import annotations

from prometheus_client import ProcessCollector

from proxy.instruments import PREFIX, LoopCounter
from proxy.measures.configuring import Configuring
from proxy.measures.edge import Edge
from proxy.measures.reporting import Reporting
from proxy.measures.serving import Serving
from proxy.measures.syncing import Syncing
from proxy.measures.telemetry import Telemetry

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


class Metrics(Configuring, Serving, Syncing, Reporting, Edge, Telemetry):
    """All metrics of one process, on a registry of their own, so that tests do not share them."""

    def __init__(self) -> None:
        super().__init__()
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
        self._configure()
        self._serve()
        self._sync()
        self._keep()
        self._report()
        self._answer_again()
        self._stream()
        self._relay()
        self._admit()
        self._web()
        self._send_telemetry()
