"""What every area needs: a registry, and short ways to put a metric on it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proxy.instruments import PREFIX, LoopCounter


class Registered:
    """A registry of its own, so that tests do not share metrics; every name gets our prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def _loop_counter(self, name: str, meaning: str) -> LoopCounter:
        counter = LoopCounter(PREFIX + name, meaning)
        self.registry.register(counter)
        return counter

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, buckets=buckets, registry=self.registry)
