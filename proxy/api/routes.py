"""Who answers what: the route table on one screen, and the way from a request to its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from proxy import logs
from proxy.api.messages import TEXT, Request, Response, failure
from proxy.api.requests import split_target
from proxy.errors import BadRequest
from proxy.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.api.credentials import Gate
    from proxy.api.flags import Flags
    from proxy.api.health import Health
    from proxy.api.vardata import Vardata

Guarded = Callable[[Request, Snapshot], Response]
Open = Callable[[Request], Response]
Handlers = Mapping[str, Guarded] | Mapping[str, Open]

OTHER = "other"
NOT_FOUND = failure(404, "Not found")
BROKEN = failure(500, "Internal error")
PREFLIGHT_HEADERS = (
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        (
            "Authorization, X-Amp-Exp-User, X-Amp-Exp-Flag-Keys, X-Amp-Exp-Track,"
            " X-Amp-Exp-Exposure-Track, X-Amp-Exp-Library, Content-Type, Accept,"
            " Content-Encoding, Cache-Control, Last-Event-ID"
        ),
    ),
    ("Access-Control-Max-Age", "86400"),
)
PREFLIGHT = Response(204, b"", TEXT, PREFLIGHT_HEADERS)


class Route(msgspec.Struct, frozen=True):
    """A path as metrics name it, and who answers which method."""

    name: str
    guarded: Mapping[str, Guarded] = {}
    open: Mapping[str, Open] = {}

    def refusal(self) -> Response:
        """Return the 405 that names the methods there are."""
        known = {*self.guarded, *self.open, "OPTIONS"}
        return failure(405, "Method not allowed", (("Allow", ", ".join(sorted(known))),))


class Exchange(msgspec.Struct, frozen=True):
    """A request that was let in; all it needs to be answered is its body."""

    handler: Guarded
    request: Request
    snapshot: Snapshot


def with_head(handlers: Mapping[str, Guarded]) -> dict[str, Guarded]:
    """Let HEAD work where GET does; the body is left out when the answer is written."""
    return {**handlers, "HEAD": handlers["GET"]}


def table(vardata: Vardata, flags: Flags, health: Health) -> dict[str, Route]:
    """Return the route of each path."""
    guarded: dict[str, dict[str, Guarded]] = {
        "/sdk/v2/vardata": {"GET": vardata.by_header, "POST": vardata.by_body},
        "/sdk/vardata": {"GET": vardata.by_header_v1, "POST": vardata.by_body_v1},
        "/v1/vardata": {"GET": vardata.by_query_v1, "POST": vardata.by_body_v1},
        "/sdk/v2/flags": {"GET": flags.configs},
        "/v1/flags": {"GET": flags.named},
    }
    plain: dict[str, Open] = {
        "/status": health.status,
        "/status/ready": health.ready,
        "/ready": health.ready,
        "/": health.root,
    }
    return {
        **{path: Route(path, guarded=with_head(handlers)) for path, handlers in guarded.items()},
        **{path: Route(path, open={"GET": one, "HEAD": one}) for path, one in plain.items()},
    }


class Router:
    """Answers requests: plain values in, plain values out, no exception but cancellation."""

    def __init__(self, routes: Mapping[str, Route], gate: Gate, bad_requests: Counter) -> None:
        self._routes = routes
        self._admit = gate.admit
        self._bad_request = bad_requests.labels("bad_request")
        self._log = logs.get("api")

    def begin(
        self, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[str, Exchange | Response]:
        """Return the route's name, and either the answer or what waits for the body."""
        try:
            return self._begin(method, target, headers)
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("request failed", method=method)
            return OTHER, BROKEN

    def finish(self, exchange: Exchange, body: bytes = b"") -> Response:
        """Answer a request that was let in."""
        request = exchange.request
        if body:
            request = Request(request.method, request.path, request.query, request.headers, body)
        try:
            return exchange.handler(request, exchange.snapshot)
        except BadRequest as mistake:
            self._bad_request.inc()
            return failure(mistake.status, mistake.reason)
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("handler failed", path=request.path)
            return BROKEN

    def _begin(
        self, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[str, Exchange | Response]:
        path, query = split_target(target)
        route = self._routes.get(path)
        if route is None:
            return OTHER, PREFLIGHT if method == "OPTIONS" else NOT_FOUND
        if handler := route.guarded.get(method):
            admitted = self._admit(headers)
            if isinstance(admitted, Snapshot):
                request = Request(method, path, query, headers)
                return route.name, Exchange(handler, request, admitted)
            return route.name, admitted
        if open_handler := route.open.get(method):
            return route.name, open_handler(Request(method, path, query, headers))
        return route.name, PREFLIGHT if method == "OPTIONS" else route.refusal()
