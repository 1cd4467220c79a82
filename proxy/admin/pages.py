"""What operators are shown: liveness, readiness with reasons, metrics, status. Plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import generate_latest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

Readiness = Callable[[], Sequence[tuple[str, bool, str]]]
"""For each deployment or part: its label, whether it is ready, and why or why not."""


class Page(msgspec.Struct, frozen=True):
    """One answer on the operators' port."""

    status: int
    body: bytes
    content_type: str = JSON


class Pages:
    """The pages of the operators' port, by path."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        metrics_path: str,
        is_ready: Callable[[], bool],
        readiness: Readiness,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._registry = registry
        self._is_ready = is_ready
        self._readiness = readiness
        self._status = status
        self.by_path: dict[str, Callable[[], Page]] = {
            "/livez": self.live,
            "/readyz": self.ready,
            "/status": self.status,
            "/" + metrics_path.strip("/"): self.metrics,
        }

    def live(self) -> Page:
        """Answer at all: that is the proof."""
        return Page(200, b"OK", TEXT)

    def ready(self) -> Page:
        """Answer 200 when requests should come, else 503; with each part's reason either way."""
        ready = self._is_ready()
        parts = [{"name": name, "ready": ok, "reason": why} for name, ok, why in self._readiness()]
        body = {"ready": ready, "parts": parts}
        return Page(200 if ready else 503, msgspec.json.encode(body))

    def status(self) -> Page:
        """Answer everything that is known about the state, without any key."""
        return Page(200, msgspec.json.format(msgspec.json.encode(self._status()), indent=2))

    def metrics(self) -> Page:
        """Answer every metric in Prometheus' text format."""
        return Page(200, generate_latest(self._registry), EXPOSITION)
