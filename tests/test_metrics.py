from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.instruments import EVALUATION_SECONDS, PREFIX, LoopHistogram
from proxy.metrics import OFFICIAL_COUNTERS, Metrics


def test_every_official_counter_starts_at_zero() -> None:
    metrics = Metrics()

    for name in OFFICIAL_COUNTERS:
        assert metrics.registry.get_sample_value(f"{PREFIX}{name}_total") == 0
    metrics.official["request"].inc()
    metrics.official["request"].inc(2)
    assert metrics.registry.get_sample_value(f"{PREFIX}request_total") == 3


def test_our_histogram_says_what_the_librarys_says() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = LoopHistogram("took_seconds", "Time.", EVALUATION_SECONDS, "route")
    ours.register(mine)
    other = Histogram(
        "took_seconds", "Time.", ["route"], buckets=EVALUATION_SECONDS, registry=theirs
    )

    for route, seconds in [("a", 0.0), ("a", 2e-6), ("a", 3e-6), ("b", 0.1), ("b", 7.0)]:
        mine.labels(route).observe(seconds)
        other.labels(route).observe(seconds)

    def samples(registry: CollectorRegistry) -> list[str]:
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return sorted(
            str((sample.name, sorted(sample.labels.items()), sample.value))
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        )

    assert samples(ours) == samples(theirs)
