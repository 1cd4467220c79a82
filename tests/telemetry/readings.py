"""What a collector was told, as Prometheus would have it on its page."""

from collections.abc import Iterable
from typing import Any

from tests.fakes.collector import said

Series = tuple[str, tuple[tuple[str, str], ...]]


def series(name: str, labels: dict[str, Any]) -> Series:
    return name, tuple(sorted((key, str(text)) for key, text in labels.items()))


def samples_of(registry: Any) -> dict[Series, float]:
    """What the page says, without when each series began."""
    return {
        series(sample.name, {k: _number(k, v) for k, v in sample.labels.items()}): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not (sample.name.endswith("_created") and family.type != "gauge")
    }


def samples_sent(request: Any) -> dict[Series, float]:
    """The same, of what was sent."""
    (of_us,) = request.resource_metrics
    (scope,) = of_us.scope_metrics
    found: dict[Series, float] = {}
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            found.update(_samples(metric.name, kind, point))
    return found


def _samples(name: str, kind: str, point: Any) -> Iterable[tuple[Series, float]]:
    labels = said(point.attributes)
    if kind in {"sum", "gauge"}:
        yield series(name, labels), point.as_double
        return
    yield series(name + "_count", labels), point.count
    yield series(name + "_sum", labels), point.sum
    if kind == "summary":
        for one in point.quantile_values:
            yield series(name, labels | {"quantile": str(float(one.quantile))}), one.value
        return
    below = 0
    bounds = [*point.explicit_bounds, float("inf")]
    for bound, count in zip(bounds, point.bucket_counts, strict=True):
        below += count
        yield series(name + "_bucket", labels | {"le": str(bound)}), below


def _number(label: str, text: str) -> str:
    return str(float(text)) if label in {"le", "quantile"} else text
