"""Instruments of the event loop's own thread: plain numbers, no lock, shown by a collector."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

PREFIX = "amplitude_proxy_"
LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
EVALUATION_SECONDS = (2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 1e-1)
QUANTILES = (0.5, 0.9, 0.95, 0.99)


class LoopCounter(Collector):
    """A counter that only the event loop's thread increments: no lock, a tenth of the cost."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name = name
        self._meaning = meaning
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count `amount` more."""
        self.value += amount

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the one sample."""
        yield CounterMetricFamily(self._name, self._meaning, self.value)


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

    bounds = LATENCY_SECONDS

    def __init__(self) -> None:
        self._laps: dict[tuple[str, str, int], Lap] = {}

    def counts(self) -> Iterator[tuple[str, int, Sequence[int]]]:
        """Give route, status and the observations in each bucket; the last has no bound."""
        for (_, route, status), lap in self._laps.items():
            yield route, status, lap.counts

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
