"""A Prometheus registry's families as OTLP's metrics, under their own names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from proxy.telemetry.pairs import pair

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

NANOS: Final = 1_000_000_000
CUMULATIVE: Final = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
UNITS: Final = {"seconds": "s", "bytes": "By"}
TOTAL, CREATED, COUNT, SUM, BUCKET = "_total", "_created", "_count", "_sum", "_bucket"

Labels = tuple[tuple[str, str], ...]


class Readings:
    """One family of a Prometheus registry, on its way to become OTLP's metrics."""

    def __init__(self, family: Metric, started_at: float, now: float) -> None:
        self._family = family
        self._started_at = started_at
        self._now = int(now * NANOS)
        self._created = self._by_labels(CREATED)

    def messages(self) -> list[metrics_pb2.Metric]:
        """Return the family as OTLP has it, under the name that Prometheus knows it by."""
        match self._family.type:
            case "counter":
                return [self._counter()]
            case "histogram":
                return [self._histogram()]
            case "summary":
                return [self._summary()]
            case _:
                return self._gauges()

    def _counter(self) -> metrics_pb2.Metric:
        name = self._family.name + TOTAL
        points = [self._point(sample, self._begin(sample.labels)) for sample in self._of(TOTAL)]
        total = metrics_pb2.Sum(
            data_points=points, aggregation_temporality=CUMULATIVE, is_monotonic=True
        )
        return self._metric(name, sum=total)

    def _gauges(self) -> list[metrics_pb2.Metric]:
        named: dict[str, list[metrics_pb2.NumberDataPoint]] = {}
        for sample in self._family.samples:
            named.setdefault(sample.name, []).append(self._point(sample))
        return [
            self._metric(name, gauge=metrics_pb2.Gauge(data_points=points))
            for name, points in named.items()
        ]

    def _histogram(self) -> metrics_pb2.Metric:
        counts, sums = self._by_labels(COUNT), self._by_labels(SUM)
        buckets = self._split(BUCKET, "le")
        points = [
            metrics_pb2.HistogramDataPoint(
                attributes=_attributes(dict(labels)),
                start_time_unix_nano=self._begin(dict(labels)),
                time_unix_nano=self._now,
                count=int(count),
                sum=sums[labels],
                explicit_bounds=[bound for bound, _ in buckets[labels] if math.isfinite(bound)],
                bucket_counts=_steps([reached for _, reached in buckets[labels]]),
            )
            for labels, count in counts.items()
        ]
        histogram = metrics_pb2.Histogram(data_points=points, aggregation_temporality=CUMULATIVE)
        return self._metric(self._family.name, histogram=histogram)

    def _summary(self) -> metrics_pb2.Metric:
        counts, sums = self._by_labels(COUNT), self._by_labels(SUM)
        quantiles = self._split("", "quantile")
        points = [
            metrics_pb2.SummaryDataPoint(
                attributes=_attributes(dict(labels)),
                start_time_unix_nano=self._begin(dict(labels)),
                time_unix_nano=self._now,
                count=int(count),
                sum=sums[labels],
                quantile_values=[
                    metrics_pb2.SummaryDataPoint.ValueAtQuantile(quantile=part, value=value)
                    for part, value in quantiles.get(labels, ())
                ],
            )
            for labels, count in counts.items()
        ]
        return self._metric(self._family.name, summary=metrics_pb2.Summary(data_points=points))

    def _metric(self, name: str, **data: Any) -> metrics_pb2.Metric:
        plain = name.removesuffix(TOTAL)
        unit = next((unit for end, unit in UNITS.items() if plain.endswith(f"_{end}")), "")
        return metrics_pb2.Metric(
            name=name, description=self._family.documentation, unit=unit, **data
        )

    def _point(self, sample: Sample, begin: int = 0) -> metrics_pb2.NumberDataPoint:
        return metrics_pb2.NumberDataPoint(
            attributes=_attributes(sample.labels),
            start_time_unix_nano=begin,
            time_unix_nano=self._now,
            as_double=sample.value,
        )

    def _of(self, suffix: str) -> list[Sample]:
        name = self._family.name + suffix
        return [sample for sample in self._family.samples if sample.name == name]

    def _by_labels(self, suffix: str) -> dict[Labels, float]:
        return {_key(sample.labels): sample.value for sample in self._of(suffix)}

    def _split(self, suffix: str, label: str) -> dict[Labels, list[tuple[float, float]]]:
        """Return the samples of each series, by the number that stands in one more label."""
        found: dict[Labels, list[tuple[float, float]]] = {}
        for sample in self._of(suffix):
            others = {name: text for name, text in sample.labels.items() if name != label}
            pair = float(sample.labels[label]), sample.value
            found.setdefault(_key(others), []).append(pair)
        return found

    def _begin(self, labels: Mapping[str, str]) -> int:
        """Return since when a series is counted, in nanoseconds."""
        created = self._created.get(_key(labels), self._started_at)
        return int(created * NANOS)


def _key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _attributes(labels: Mapping[str, str]) -> list[common_pb2.KeyValue]:
    return [pair(name, text) for name, text in labels.items()]


def _steps(reached: Sequence[float]) -> list[int]:
    """Return how many fell into each bucket, of how many lie below each bound."""
    before = (0.0, *reached)
    return [int(now - then) for then, now in zip(before, reached, strict=False)]
