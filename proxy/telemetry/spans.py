"""Spans: begun for what is sampled and for nothing else, recorded when they end."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.telemetry.attributes import OTHER_METHOD, Value, method_name
from proxy.telemetry.context import Chance, Parent, current, looks_unsampled, parent_of

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from proxy.tasks import Clock

NANOS: Final = 1_000_000_000
NO_PARENT: Final = ""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A request or a call that ended; times in nanoseconds since 1970, ids in hex."""

    name: str
    is_call: bool
    trace_id: str
    span_id: str
    parent_id: str
    has_remote_parent: bool
    state: str
    begins: int
    ends: int
    has_failed: bool
    attributes: dict[str, Value]


class Begun:
    """A span that has not ended; it began at `begins`, in seconds since 1970, and as `started`.

    That is when the clock that only goes forward said so.
    """

    __slots__ = (
        "attributes", "begins", "has_remote_parent", "parent_id", "recorded", "span_id",
        "started", "state", "trace_id",
    )  # fmt: skip

    def __init__(self, parent: Parent | Begun | None, begins: float) -> None:
        self.trace_id: str = f"{_random(128):032x}" if parent is None else parent.trace_id
        self.span_id = f"{_random(64):016x}"
        self.parent_id = NO_PARENT if parent is None else parent.span_id
        self.has_remote_parent = isinstance(parent, Parent)
        self.state: str = "" if parent is None else parent.state
        self.begins = begins
        self.started = perf_counter()
        self.attributes: dict[str, Value] = {}
        self.recorded = False


def _random(bits: int) -> int:
    return random.getrandbits(bits) or 1


Sink = Callable[[Span], None]


class Tracer:
    """Decides which requests are traced, and hands spans that ended to a sink.

    `scheme` and `port` are those of the clients' port.
    """

    def __init__(
        self, ratio: float, sink: Sink, clock: Clock, chance: Chance, *, parent_based: bool = True
    ) -> None:
        self.scheme = "http"
        self.port = 0
        self._ratio = ratio
        self._sink = sink
        self._clock = clock
        self._chance = chance
        self._parent_based = parent_based

    def begin(self, headers: CIMultiDictProxy[str]) -> Begun | None:
        """Begin the span of a request; None if it is not sampled."""
        parent = None
        given = headers.get("traceparent") if self._parent_based else None
        if given is not None:
            if looks_unsampled(given):
                return None
            parent = parent_of(headers, given)
        if parent is None:
            if self._chance() >= self._ratio:
                return None
        elif not parent.is_sampled:
            return None
        return Begun(parent, self._clock())

    def end(self, begun: Begun, method: str, route: str, status: int, seconds: float) -> None:
        """Record the span of a request once; `route` is empty for what no route is for."""
        if begun.recorded:
            return
        begun.recorded = True
        method = method_name(method)
        said = begun.attributes
        said["http.request.method"] = method
        said["http.response.status_code"] = status
        said["url.scheme"] = self.scheme
        said["server.port"] = self.port
        if route:
            said["http.route"] = route
        if status >= 500:
            said["error.type"] = str(status)
        verb = "HTTP" if method == OTHER_METHOD else method
        name = f"{verb} {route}".rstrip()
        self._record(begun, name, seconds, is_call=False, has_failed=status >= 500)

    def begin_call(self, *, is_of_request: bool) -> Begun | None:
        """Begin the span of a call; None if it is made for a request that is not sampled.

        What is done for no request is always sampled: there is little of it.
        """
        parent = current.get() if is_of_request else None
        if is_of_request and parent is None:
            return None
        return Begun(parent, self._clock())

    def end_call(self, begun: Begun, name: str, seconds: float, error: str = "") -> None:
        """Record the span of a call, and what kind of error it ended in."""
        if error:
            begun.attributes["error.type"] = error
        self._record(begun, name, seconds, is_call=True, has_failed=bool(error))

    def _record(
        self, begun: Begun, name: str, seconds: float, *, is_call: bool, has_failed: bool
    ) -> None:
        begins = int(begun.begins * NANOS)
        self._sink(
            Span(
                name=name,
                is_call=is_call,
                trace_id=begun.trace_id,
                span_id=begun.span_id,
                parent_id=begun.parent_id,
                has_remote_parent=begun.has_remote_parent,
                state=begun.state,
                begins=begins,
                ends=begins + int(seconds * NANOS),
                has_failed=has_failed,
                attributes=begun.attributes,
            )
        )
