"""What operators are shown: liveness, readiness with reasons, metrics, status. Plain values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from prometheus_client import generate_latest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"

Readiness = Callable[[], Sequence[tuple[str, bool, str]]]
"""For each deployment or part: its label, whether it is ready, and why or why not."""


class Ask(msgspec.Struct, frozen=True):
    """One request on the operators' port.

    `path` is decoded, `query` is as it came. `is_known` tells that who asks may see everything;
    the guard decides that. `body` is empty while the guard looks: it is not read before.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_known: bool = True
    address: str | None = None


class Page(msgspec.Struct, frozen=True):
    """One answer on the operators' port."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """What was asked for cannot be given; the status, and a reason fit for who asked."""

    def __init__(self, status: int, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.page = refusal(status, reason, **more)


Handler = Callable[[Ask], Awaitable[Page]]
Route = Mapping[str, Handler]
"""Handlers by method; GET answers HEAD as well."""


def refusal(status: int, reason: str, **more: Any) -> Page:
    """Return the answer that says why there is none."""
    return Page(status, msgspec.json.encode({"code": status, "error": reason, **more}))


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
        self.by_path: dict[str, Route] = {
            "/livez": {"GET": self.live},
            "/readyz": {"GET": self.ready},
            "/status": {"GET": self.status},
            "/" + metrics_path.strip("/"): {"GET": self.metrics},
        }

    def add(self, routes: Mapping[str, Route]) -> None:
        """Add pages; those that are there stay."""
        self.by_path = {**routes, **self.by_path}

    async def live(self, _ask: Ask) -> Page:
        """Answer at all: that is the proof."""
        return Page(200, b"OK", TEXT)

    async def ready(self, ask: Ask) -> Page:
        """Answer 200 when requests should come, else 503; who is known gets each part's reason."""
        ready = self._is_ready()
        if not ask.is_known:
            return Page(200 if ready else 503, msgspec.json.encode({"ready": ready}))
        parts = [{"name": name, "ready": ok, "reason": why} for name, ok, why in self._readiness()]
        body = {"ready": ready, "parts": parts}
        return Page(200 if ready else 503, msgspec.json.encode(body))

    async def status(self, _ask: Ask) -> Page:
        """Answer everything that is known about the state, without any key."""
        return Page(200, msgspec.json.format(msgspec.json.encode(self._status()), indent=2))

    async def metrics(self, _ask: Ask) -> Page:
        """Answer every metric in Prometheus' text format."""
        return Page(200, generate_latest(self._registry), EXPOSITION)
