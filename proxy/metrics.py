"""Every metric on one page. Names without labels at the top are the official proxy's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

PREFIX = "amplitude_proxy_"

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

LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
QUANTILES = (0.5, 0.9, 0.95, 0.99)
EVALUATION_SECONDS = (2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 1e-1)


class LoopCounter(Collector):
    """A counter that only the event loop's thread increments: no lock, a tenth of the cost."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name = name
        self._meaning = meaning
        self._value = 0

    def inc(self, amount: int = 1) -> None:
        """Count `amount` more."""
        self._value += amount

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the one sample."""
        yield CounterMetricFamily(self._name, self._meaning, self._value)


class Timing:
    """The observations of one series of a `LoopHistogram`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class LoopHistogram(Collector):
    """A histogram that only the event loop's thread observes: no lock, a fifth of the cost."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> None:
        self._family = name, meaning, labels
        self._bounds = bounds
        self._edges = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._series: dict[tuple[str, ...], Timing] = {}

    def labels(self, *values: str) -> Timing:
        """Return the series of these label values."""
        return self._series.setdefault(values, Timing(self._bounds))

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the samples of every series."""
        name, meaning, labels = self._family
        family = HistogramMetricFamily(name, meaning, labels=labels)
        for values, timing in self._series.items():
            buckets = list(zip(self._edges, accumulate(timing.counts), strict=True))
            family.add_metric(values, buckets, timing.total)
        yield family


class Lap(Timing):
    """The observations of one kind of request, and the longest of them."""

    __slots__ = ("longest",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        super().__init__(bounds)
        self.longest = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
        if seconds > self.longest:  # noqa: PLR1730  max() costs three times as much
            self.longest = seconds

    def quantile(self, part: float) -> float:
        """Return the bound below which `part` of the observations lie."""
        wanted = part * sum(self.counts)
        reached = accumulate(self.counts)
        index = next(place for place, count in enumerate(reached) if count >= wanted)
        return min(self.bounds[index], self.longest) if index < len(self.bounds) else self.longest


class RequestTimes(Collector):
    """How long requests took: as a histogram, and under the official proxy's names."""

    def __init__(self) -> None:
        self._laps: dict[tuple[str, str, int], Lap] = {}

    def labels(self, method: str, route: str, status: int) -> Lap:
        """Return the series of a method, a route's name and a status."""
        return self._laps.setdefault((method, route, status), Lap(LATENCY_SECONDS))

    def collect(self) -> Iterable[Metric]:
        """Return the samples of every series, in both forms."""
        classes = LoopHistogram(
            PREFIX + "http_request_duration_seconds",
            "Time from a request's arrival to its answer, by route and status class.",
            LATENCY_SECONDS,
            "route",
            "status",
        )
        name, labels = PREFIX + "http_server_requests_seconds", ("method", "route", "status")
        official = SummaryMetricFamily(name, "Time of requests, as the official proxy names it.")
        longest = GaugeMetricFamily(name + "_max", "The longest request so far.", labels=labels)
        for (method, route, status), lap in self._laps.items():
            merged = classes.labels(route, f"{status // 100}xx")
            merged.counts = [a + b for a, b in zip(merged.counts, lap.counts, strict=True)]
            merged.total += lap.total
            values = (method, route, str(status))
            named = dict(zip(labels, values, strict=True))
            official.add_sample(name + "_count", named, sum(lap.counts))
            official.add_sample(name + "_sum", named, lap.total)
            for part in QUANTILES:
                at = {**named, "quantile": str(part)}
                official.add_sample(name, at, lap.quantile(part))
            longest.add_metric(values, lap.longest)
        yield from classes.collect()
        yield official
        yield longest


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
            "Failures of the spool's disk: unusable for now, or damaged.",
            "reason",
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
