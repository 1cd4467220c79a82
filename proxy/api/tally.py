"""What the clients' port counts, bound beforehand so that a request pays little for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.metrics import Metrics

OFFICIAL_OF_ROUTE = {
    "vardata": "evaluation_request",
    "vardata_v1": "evaluation_request",
    "flags": "get_flags_request",
}
REASONS = {
    400: "malformed",
    408: "too_slow",
    413: "body_too_large",
    415: "content_encoding",
    417: "expectation",
    431: "headers_too_large",
    500: "error",
}


class Tally:
    """Counts requests, their errors and their time, by route and status class."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._one = metrics.official["request"].inc
        self._one_error = metrics.official["request_error"].inc
        self._observe: dict[tuple[str, int], Callable[[float], None]] = {}
        self._routes = {
            route: (metrics.official[name].inc, metrics.official[name + "_error"].inc)
            for route, name in OFFICIAL_OF_ROUTE.items()
        }

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is a name out of the route table."""
        self._one()
        official = self._routes.get(route)
        if official is not None:
            official[0]()
        if status >= 300 and status != 304:
            self._one_error()
            if official is not None:
                official[1]()
        kind = (route, status // 100)
        observe = self._observe.get(kind)
        if observe is None:
            child = self._metrics.http_seconds.labels(route, f"{status // 100}xx")
            observe = self._observe[kind] = child.observe
        observe(seconds)

    def reject(self, status: int) -> None:
        """Count a request that was refused before a handler saw it."""
        self._metrics.rejected.labels(REASONS[status]).inc()
