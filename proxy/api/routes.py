"""Who answers what: the route table on one screen, and the way from a request to its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec
from urllib.parse import unquote

import msgspec

from proxy import logs
from proxy.api.admission import TOO_MANY_OF_ADDRESS, TOO_MANY_UPLOADS
from proxy.api.cors import NO_BROWSERS, NOBODY, Cors
from proxy.api.messages import Request, Response, failure
from proxy.api.requests import plainly_spelt, split_target
from proxy.api.uploads import Upload, Uploads
from proxy.errors import BadRequest
from proxy.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.api.admission import Admission
    from proxy.api.cohorts import Cohorts
    from proxy.api.credentials import Gate
    from proxy.api.doorman import Visitor
    from proxy.api.flags import Flags
    from proxy.api.health import Health
    from proxy.api.in_force import InForce
    from proxy.api.memberships import MembershipLists
    from proxy.api.vardata import Vardata

Guarded = Callable[[Request, Snapshot], Response]
Open = Callable[[Request], Response]
Handlers = Mapping[str, Guarded] | Mapping[str, Open]
Asked = ParamSpec("Asked")
Admit = Callable[[Mapping[str, str]], Snapshot | Response]
"""Give the snapshot to answer from, or why there is none."""

OTHER = "other"
COHORT = "/sdk/v1/cohort/"
MEMBERSHIPS = "/sdk/v2/memberships/"
NAMELESS_SEGMENTS = 4
NOT_FOUND = failure(404, "Not found")
BROKEN = failure(500, "Internal error")


class Exchange(msgspec.Struct, frozen=True):
    """A request that was let in; all it needs to be answered is its body."""

    handler: Guarded
    request: Request
    snapshot: Snapshot


class Route(msgspec.Struct, frozen=True):
    """A path as metrics name it, and who answers which method.

    `uploads` takes what is posted; `browsers` tells whether scripts of web pages may call it;
    `admit` takes the gate's place; `waits` makes what waits for the body of a request let in;
    `metered` tells whether it counts as work that may be refused.
    """

    name: str
    guarded: Mapping[str, Guarded] = {}
    open: Mapping[str, Open] = {}
    uploads: Uploads | None = None
    browsers: bool = True
    admit: Admit | None = None
    waits: Callable[[Guarded, Request, Snapshot], Exchange | Upload] = Exchange
    metered: bool = True

    def refusal(self) -> Response:
        """Return the 405 that names the methods there are."""
        known = {*self.guarded, *self.open, *(["POST"] if self.uploads else []), "OPTIONS"}
        return failure(405, "Method not allowed", (("Allow", ", ".join(sorted(known))),))


Found = Exchange | Upload | Response
"""The answer, or what waits for the body."""


def with_head(handlers: Mapping[str, Guarded]) -> dict[str, Guarded]:
    """Let HEAD work where GET does; the body is left out when the answer is written."""
    return {**handlers, "HEAD": handlers["GET"]}


def table(
    vardata: Vardata, flags: Flags, health: Health, uploads: Uploads | None = None
) -> dict[str, Route]:
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
        **{
            path: Route(path, open={"GET": one, "HEAD": one}, metered=False)
            for path, one in plain.items()
        },
        **{path: Route(path, uploads=uploads) for path in (uploads.bounds if uploads else ())},
    }


def prefixes(cohorts: Cohorts, memberships: MembershipLists) -> tuple[tuple[str, Route], ...]:
    """Return the routes of all paths that begin alike; the rest of the path is a parameter."""
    download = {"GET": cohorts.download, "HEAD": cohorts.download}
    listing = with_head({"GET": memberships.of_name})
    return (
        # An SDK repeats a refused download at once; how many there are is bounded anyway.
        (COHORT, Route(COHORT + "{cohortId}", open=download, browsers=False, metered=False)),
        (
            MEMBERSHIPS,
            Route(MEMBERSHIPS + "{groupType}/{groupName}", guarded=listing, browsers=False),
        ),
    )


def closed(route: Route) -> Route:
    """Return a route whose answers pages may not read, if it is none for browsers."""
    if route.browsers:
        return route
    guarded = {method: _closed(handler) for method, handler in route.guarded.items()}
    plain = {method: _closed(handler) for method, handler in route.open.items()}
    return msgspec.structs.replace(route, guarded=guarded, open=plain)


def _closed(handler: Callable[Asked, Response]) -> Callable[Asked, Response]:
    def answer(*asked: Asked.args, **more: Asked.kwargs) -> Response:
        return msgspec.structs.replace(handler(*asked, **more), grant=NOBODY)

    return answer


class Router:
    """Answers requests: plain values in, plain values out, no exception but cancellation.

    `admission` may refuse requests, those of a visitor. It, `cors` and what is `in_force` may
    change at any time.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        gate: Gate,
        bad_requests: Counter,
        beginnings: Sequence[tuple[str, Route]] = (),
        *,
        cors: Cors,
        admission: Admission,
        in_force: InForce,
    ) -> None:
        self.cors = cors
        self.admission = admission
        self.in_force = in_force
        self._routes = {path: closed(route) for path, route in routes.items()}
        self._beginnings = [(beginning, closed(route)) for beginning, route in beginnings]
        self._admit = gate.admit
        self._bad_request = bad_requests.labels("bad_request")
        self._log = logs.get("api")

    def begin(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        visitor: Visitor | None = None,
    ) -> tuple[str, Found]:
        """Return the route's name, and either the answer or what waits for the body."""
        try:
            return self._begin(method, target, headers, visitor)
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("request failed", method=method)
            return OTHER, BROKEN

    def finish(self, exchange: Exchange, body: bytes = b"") -> Response:
        """Answer a request that was let in."""
        request = exchange.request
        if body:
            asked = request.method, request.path, request.query, request.headers
            request = Request(*asked, body, request.rest)
        try:
            return exchange.handler(request, exchange.snapshot)
        except Exception as error:  # noqa: BLE001  no bug may show its inside to the asker
            return self._failed(request, error)

    async def wait(self, promise: Response) -> Response:
        """Return the answer that comes later; pages may read it if they might read the promise."""
        answer = await self._arrival(promise.later) if promise.later is not None else promise
        if promise.grant is None or answer.grant is not None:
            return answer
        return msgspec.structs.replace(answer, grant=promise.grant)

    async def _arrival(self, later: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await later()
        except BadRequest as mistake:
            self._bad_request.inc()
            return failure(mistake.status, mistake.reason)
        except Exception:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.exception("request failed later")
            return BROKEN

    def _begin(
        self, method: str, target: str, headers: Mapping[str, str], visitor: Visitor | None
    ) -> tuple[str, Found]:
        path, query = split_target(target)
        route, rest = self._routes.get(path), ""
        if route is None:
            route, rest = self._seek(path)
            if route is None:
                return OTHER, self.cors.preflight if method == "OPTIONS" else NOT_FOUND
            path = unquote(path)
        if handler := route.guarded.get(method):
            admitted = (route.admit or self._admit)(headers)
            if visitor is not None and self.admission.is_on:
                admitted = self.admission.check(admitted, headers, visitor)
            if isinstance(admitted, Snapshot):
                request = Request(method, path, query, headers, b"", rest)
                return route.name, route.waits(handler, request, admitted)
            return route.name, admitted
        if open_handler := route.open.get(method):
            request = Request(method, path, query, headers, b"", rest)
            refused = self._refused(route, headers, visitor)
            return route.name, refused or self._asked(open_handler, request)
        if route.uploads and method == "POST":
            refused = self._refused(route, headers, visitor)
            return route.name, refused or route.uploads.to(path, headers)
        permission = self.cors.preflight if route.browsers else NO_BROWSERS
        return route.name, permission if method == "OPTIONS" else route.refusal()

    def _refused(
        self, route: Route, headers: Mapping[str, str], visitor: Visitor | None
    ) -> Response | None:
        """Return what a request is told that nobody's key has let in, if it is one too many."""
        if visitor is None or not (self.admission.is_on and route.metered):
            return None
        too_many = TOO_MANY_UPLOADS if route.uploads else TOO_MANY_OF_ADDRESS
        return self.admission.refusal(visitor, headers, too_many=too_many)

    def _seek(self, path: str) -> tuple[Route | None, str]:
        """Find the route of a path that begins like one or is spelt like none."""
        spelt = plainly_spelt(path) if "%" in path else path
        for beginning, route in self._beginnings:
            if spelt.startswith(beginning):
                return route, path.split("/", beginning.count("/"))[-1]
        return self._routes.get(spelt), ""

    def _asked(self, handler: Open, request: Request) -> Response:
        try:
            return handler(request)
        except Exception as error:  # noqa: BLE001  no bug may show its inside to the asker
            return self._failed(request, error)

    def _failed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, BadRequest):
            self._bad_request.inc()
            return failure(error.status, error.reason)
        # Behind the first segments there may be somebody's name.
        path = "/".join(request.path.split("/")[:NAMELESS_SEGMENTS])
        self._log.error("handler failed", path=path, exc_info=error)
        return BROKEN
