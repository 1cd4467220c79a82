"""The metrics of a registry, as a collector is told of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from proxy.instruments import LoopCounter, LoopHistogram
from proxy.metrics import Metrics
from proxy.telemetry.encoding import Encoder
from tests.telemetry.readings import samples_of, samples_sent

STARTED, NOW = 1_700_000_000.0, 1_700_000_060.0


def sent(registry: CollectorRegistry) -> Any:
    raw = Encoder({"service.name": "s"}, STARTED).metrics(list(registry.collect()), NOW)
    return ExportMetricsServiceRequest.FromString(raw)


def messages(registry: CollectorRegistry) -> dict[str, Any]:
    (of_us,) = sent(registry).resource_metrics
    return {metric.name: metric for metric in of_us.scope_metrics[0].metrics}


def used_metrics() -> Metrics:
    metrics = Metrics()
    metrics.official["request"].inc(7)
    metrics.http_seconds.labels("GET", "/", 200).observe(0.003)
    metrics.http_seconds.labels("POST", "/", 500).observe(30)
    metrics.evaluation_seconds.observe(1e-5)
    metrics.compile_seconds.observe(0.2)
    metrics.rejected.labels("malformed").inc()
    metrics.flags_in_force.labels("web").set(4)
    return metrics


def test_every_number_of_the_page_is_sent() -> None:
    registry = used_metrics().registry

    there, here = samples_sent(sent(registry)), samples_of(registry)

    # What the process itself uses changes from one look to the next.
    assert there.keys() == here.keys()
    assert {key: value for key, value in there.items() if not key[0].startswith("process_")} == {
        key: value for key, value in here.items() if not key[0].startswith("process_")
    }
    assert len(here) > 100


def test_counters_are_monotonic_sums_since_they_were_made() -> None:
    registry = CollectorRegistry()
    ours = LoopCounter("ours", "Ours.")
    registry.register(ours)
    ours.inc(3)
    theirs = Counter("theirs_bytes", "Theirs.", ["a"], registry=registry)
    theirs.labels("x").inc(2)

    found = messages(registry)

    for name, value in [("ours_total", 3), ("theirs_bytes_total", 2)]:
        total = found[name].sum
        assert total.is_monotonic
        assert total.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        (point,) = total.data_points
        assert point.as_double == value
        assert point.time_unix_nano == int(NOW * 1e9)
    assert found["ours_total"].sum.data_points[0].start_time_unix_nano == int(STARTED * 1e9)
    made_at = registry.get_sample_value("theirs_bytes_created", {"a": "x"})
    assert made_at is not None
    assert found["theirs_bytes_total"].sum.data_points[0].start_time_unix_nano == int(made_at * 1e9)
    assert found["ours_total"].description == "Ours."


def test_units_are_those_that_names_tell() -> None:
    registry = CollectorRegistry()
    for name in ("a_seconds", "b_bytes", "c"):
        Gauge(name, "A gauge.", registry=registry)
    Counter("d_seconds", "A counter.", registry=registry)

    units = {name: metric.unit for name, metric in messages(registry).items()}

    assert units == {"a_seconds": "s", "b_bytes": "By", "c": "", "d_seconds_total": "s"}


def test_a_histogram_has_its_bounds_and_what_fell_between_them() -> None:
    registry = CollectorRegistry()
    ours = LoopHistogram("ours_seconds", "Ours.", (0.1, 1.0), "a")
    registry.register(ours)
    theirs = Histogram("theirs_seconds", "Theirs.", buckets=(0.1, 1.0), registry=registry)
    for seconds in (0.05, 0.5, 0.6, 7):
        ours.labels("x").observe(seconds)
        theirs.observe(seconds)

    for metric in messages(registry).values():
        (point,) = metric.histogram.data_points
        assert list(point.explicit_bounds) == [0.1, 1.0]
        assert list(point.bucket_counts) == [1, 2, 1]
        assert point.count == 4
        assert round(point.sum, 6) == 8.15
        assert not point.HasField("max")
        assert metric.unit == "s"


def test_a_summary_without_quantiles_is_one() -> None:
    registry = CollectorRegistry()
    Summary("s", "A summary.", registry=registry).observe(2)

    (point,) = messages(registry)["s"].summary.data_points

    assert (point.count, point.sum, len(point.quantile_values)) == (1, 2, 0)


@given(
    st.lists(st.floats(0, 1e6), max_size=20),
    st.dictionaries(st.text(max_size=8), st.integers(0, 2**40), max_size=4),
    st.floats(allow_nan=False),
)
def test_whatever_was_counted_arrives_as_it_is(
    seconds: list[float], counts: dict[str, int], level: float
) -> None:
    registry = CollectorRegistry()
    times = Histogram("times", "Times.", registry=registry)
    for one in seconds:
        times.observe(one)
    counted = Counter("counted", "Counted.", ["of"], registry=registry)
    for name, count in counts.items():
        counted.labels(name).inc(count)
    Gauge("level", "A level.", registry=registry).set(level)

    assert samples_sent(sent(registry)) == samples_of(registry)
