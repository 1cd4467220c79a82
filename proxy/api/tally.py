"""What the clients' port counts, bound beforehand so that a request pays little for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.api.messages import failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.api.messages import Response
    from proxy.errors import BadRequest
    from proxy.metrics import Metrics

OFFICIAL_OF_ROUTE = {
    "/sdk/v2/vardata": "evaluation_request",
    "/sdk/vardata": "evaluation_request",
    "/v1/vardata": "evaluation_request",
    "/sdk/v2/vardata/batch": "evaluation_request",
    "/ofrep/v1/evaluate/flags": "evaluation_request",
    "/ofrep/v1/evaluate/flags/{key}": "evaluation_request",
    "/sdk/v2/flags": "get_flags_request",
    "/v1/flags": "get_flags_request",
    "/sdk/v1/cohort/{cohortId}": "get_cohort_request",
    "/sdk/v2/memberships/{groupType}/{groupName}": "get_members_request",
}
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
OTHER_METHOD = "other"
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
        self.answered_unsafely = metrics.unsafe_answers.inc
        self._one_error = metrics.official["request_error"].inc
        self._observe: dict[tuple[str, str, int], Callable[[float], None]] = {}
        self._routes = {
            route: (metrics.official[name].inc, metrics.official[name + "_error"].inc)
            for route, name in OFFICIAL_OF_ROUTE.items()
        }

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is a path of the route table, or one word for all others."""
        self._one()
        official = self._routes.get(route)
        if official is not None:
            official[0]()
        if status >= 300 and status != 304:
            self._one_error()
            if official is not None:
                official[1]()
        observe = self._observe.get((method, route, status))
        if observe is None:
            known = method if method in METHODS else OTHER_METHOD
            observe = self._metrics.http_seconds.labels(known, route, status).observe
            if known is method:
                self._observe[method, route, status] = observe
        observe(seconds)

    def for_later(self) -> Tally:
        """Return what counts an answer that comes when its request is forgotten."""
        return self

    def refused(self, mistake: BadRequest) -> Response:
        """Count a request that was refused for a mistake; return what it is told."""
        self.reject(mistake.status)
        return failure(mistake.status, mistake.reason)

    def reject(self, status: int) -> None:
        """Count a request that was refused before a handler saw it."""
        self._metrics.rejected.labels(REASONS[status]).inc()
