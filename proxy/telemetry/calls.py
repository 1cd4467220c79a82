"""Spans of calls to Amplitude, by the hooks of the HTTP client; none are set while this is off."""

from __future__ import annotations

from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from proxy.telemetry.attributes import method_name

if TYPE_CHECKING:
    from yarl import URL

    from proxy.telemetry.spans import Begun, Tracer


class Purpose(NamedTuple):
    """What a call asks for, and whether it is made for a request of a client."""

    name: str
    is_of_request: bool = False


FLAGS: Final = Purpose("flags")
WEB_FLAGS: Final = Purpose("web_flags", is_of_request=True)
OTHER: Final = Purpose("other")
ENDINGS: Final = {
    "/sdk/v2/flags": FLAGS,
    "/sdk/stream/v1/flags": Purpose("flag_stream"),
    "/api/1/deployments": Purpose("deployments"),
    "/batch": Purpose("events"),
    "/2/httpapi": Purpose("events"),
    "/sdk/v2/vardata": Purpose("evaluation", is_of_request=True),
    "/web/v1/configs": Purpose("previews", is_of_request=True),
}
BEGINNINGS: Final = {
    "/sdk/v1/cohort/": Purpose("cohort"),
    "/script/": Purpose("script", is_of_request=True),
}
"""Of paths whose last segment names something; it is in no span."""


def purpose_of(url: URL) -> Purpose:
    """Tell what a call to a URL is for; the host, and what a path begins with, are configured."""
    path = url.path
    for ending, purpose in ENDINGS.items():
        if path.endswith(ending):
            is_of_page = purpose is FLAGS and url.query.get("delivery_method") == "web"
            return WEB_FLAGS if is_of_page else purpose
    above = path[: path.rfind("/") + 1]
    return next((p for beginning, p in BEGINNINGS.items() if above.endswith(beginning)), OTHER)


class Call:
    """One call under way."""

    __slots__ = ("begun", "method", "purpose")

    def __init__(self, begun: Begun, method: str, purpose: Purpose) -> None:
        self.begun = begun
        self.method = method
        self.purpose = purpose


class Calls:
    """Follows the calls of a session, each until the head of its answer is here."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def config(self) -> aiohttp.TraceConfig:
        """Return the hooks for the session."""
        hooks = aiohttp.TraceConfig()
        hooks.on_request_start.append(self._start)
        hooks.on_request_end.append(self._end)
        hooks.on_request_exception.append(self._fail)
        return hooks

    async def _start(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestStartParams,
    ) -> None:
        context.call = None
        purpose = purpose_of(params.url)
        begun = self._tracer.begin_call(is_of_request=purpose.is_of_request)
        if begun is None:
            return
        method = method_name(params.method)
        begun.attributes = {
            "http.request.method": method,
            "url.scheme": params.url.scheme,
            "server.address": params.url.host or "",
            "server.port": params.url.port or 0,
            "amplitude_proxy.upstream": purpose.name,
        }
        context.call = Call(begun, method, purpose)

    async def _end(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        status = params.response.status
        call: Call | None = context.call
        if call is not None:
            call.begun.attributes["http.response.status_code"] = status
            self._record(call, str(status) if status >= 400 else "")

    async def _fail(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        call: Call | None = context.call
        if call is not None:
            self._record(call, type(params.exception).__name__)

    def _record(self, call: Call, error: str) -> None:
        seconds = perf_counter() - call.begun.started
        name = f"{call.method} {call.purpose.name}"
        self._tracer.end_call(call.begun, name, seconds, error)
