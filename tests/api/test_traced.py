"""The clients' port while requests are traced."""

from __future__ import annotations

import asyncio
import random
from functools import cache
from types import SimpleNamespace
from typing import Any

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from yarl import URL

from proxy.api.assembly import build_router, build_server
from proxy.api.carrier import Carrier
from proxy.api.reports import Reports
from proxy.api.tally import Tally
from proxy.api.traced import TracedTally
from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from proxy.tasks import wall_clock
from proxy.telemetry.attributes import TABLE
from proxy.telemetry.context import current, during
from proxy.telemetry.encoding import Encoder
from proxy.telemetry.spans import Span, Tracer
from tests import builders
from tests.builders import KEY, flag
from tests.fakes.collector import said
from tests.serving import read_answer, serving

VARDATA = "/sdk/v2/vardata"
TRACES = [f"{number:032x}" for number in range(1, 6)]
MARK = "geheim"
ROUTES = {
    VARDATA,
    "/sdk/v2/flags",
    "/v1/vardata",
    "/sdk/v1/cohort/{cohortId}",
    "/sdk/v2/memberships/{groupType}/{groupName}",
}


def tracing(spans: list[Span], ratio: float = 0.0) -> Tracer:
    return Tracer(ratio, spans.append, wall_clock, random.random)


def sampled(trace: str) -> str:
    return f"00-{trace}-00000000000000ff-01"


def asking(trace: str, target: str = VARDATA, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: proxy",
        f"Authorization: Api-Key {KEY}",
        f"traceparent: {sampled(trace)}",
        *([f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_requests_sent_ahead_keep_their_own_traces() -> None:
    spans: list[Span] = []
    async with serving(tracer=tracing(spans)) as served, served.connection() as (reader, writer):
        writer.write(b"".join(asking(trace) for trace in TRACES))
        for _ in TRACES:
            assert (await read_answer(reader)).status == 200

    assert [span.trace_id for span in spans] == TRACES
    assert all(span.attributes["http.route"] == VARDATA for span in spans)
    assert current.get() is None


async def test_a_body_that_comes_late_is_part_of_its_own_span() -> None:
    spans: list[Span] = []
    async with (
        serving(tracer=tracing(spans)) as served,
        served.connection() as (late, late_writer),
        served.connection() as (other, other_writer),
    ):
        head, body = asking(TRACES[0], method="POST", body=b'{"user_id":"u"}').split(b"\r\n\r\n")
        late_writer.write(head + b"\r\n\r\n" + body[:5])
        await asyncio.sleep(0)
        other_writer.write(asking(TRACES[1]))
        assert (await read_answer(other)).status == 200
        late_writer.write(body[5:])
        assert (await read_answer(late)).status == 200

    assert [span.trace_id for span in spans] == [TRACES[1], TRACES[0]]
    assert spans[1].name == f"POST {VARDATA}"
    assert spans[1].attributes["amplitude_proxy.deployment"]


async def test_what_is_decided_at_once_is_not_drawn_again_in_its_turn() -> None:
    spans: list[Span] = []
    draws: list[float] = []

    def chance() -> float:
        draws.append(0.0)
        return 0.75

    tracer = Tracer(0.5, spans.append, wall_clock, chance)
    async with serving(tracer=tracer) as served:
        answer = await served.get(VARDATA, Connection="close")
        assert answer.status == 200

    assert len(draws) == 1
    assert not spans


async def test_garbage_has_no_span_and_breaks_none() -> None:
    spans: list[Span] = []
    async with serving(tracer=tracing(spans, 1.0)) as served:
        async with served.connection() as (reader, writer):
            writer.write(b"rubbish\r\n\r\n")
            assert (await read_answer(reader)).status == 400
        assert (await served.get(VARDATA)).status == 200

    assert [span.name for span in spans] == [f"GET {VARDATA}"]


def test_a_later_answer_ends_the_span_that_it_belongs_to() -> None:
    spans: list[Span] = []
    tracer, metrics = tracing(spans), Metrics()
    tally = TracedTally(metrics, tracer)
    headers = CIMultiDictProxy(CIMultiDict({"traceparent": sampled(TRACES[0])}))
    begun = tracer.begin(headers)
    assert begun is not None
    with during(begun):
        later = tally.for_later()

    later.answered("GET", "/sdk/stream/v1/flags", 200, 0.1)

    assert tally.for_later() is tally
    assert [span.trace_id for span in spans] == [TRACES[0]]
    name = "amplitude_proxy_http_request_duration_seconds_count"
    labels = {"route": "/sdk/stream/v1/flags", "status": "2xx"}
    assert metrics.registry.get_sample_value(name, labels) == 1


NEAR = st.sampled_from([*ROUTES, "/sdk/v1/cohort/c", "/sdk/v2/memberships/a/b", "/nowhere"])
NAMES = st.sampled_from(
    ["X-Amp-Exp-User", "User-Agent", "Cookie", "traceparent", "tracestate", "baggage", "X-Api-Key"]
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "BREW"]),
    NEAR,
    VALUES,
    st.dictionaries(NAMES, VALUES, max_size=4),
)


@cache
def carrier() -> tuple[Any, list[Span]]:
    """The carrier of a port that nobody listens on, and the spans of all that it is asked."""
    spans: list[Span] = []
    board, metrics = Board(), Metrics()
    snapshot = builders.snapshot([flag("plain")])
    board.authorise(snapshot.deployment)
    board.publish(KEY, snapshot)
    reports = Reports(lambda *_: None, lambda *_: None, None)
    router = build_router(
        board, reports, builders.settings(), metrics, wall_clock, is_ready=lambda: True
    )
    server = build_server(router, metrics, wall_clock, tracer=tracing(spans, 1.0))
    return server._carrier, spans


@settings(max_examples=80)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_no_request_puts_a_word_of_its_own_into_a_span(requests: list[Any]) -> None:
    serving, spans = carrier()
    spans.clear()
    for method, path, text, more in requests:
        target = f"{path}{MARK}{text}?{MARK}={MARK}" if len(text) % 2 else f"{path}?{MARK}{text}"
        marked = {name: f"{MARK}{value}{MARK}" for name, value in more.items()}
        headers = CIMultiDict({"Authorization": f"Api-Key {KEY}", **marked})
        message = RawRequestMessage(
            method, target, HttpVersion11, CIMultiDictProxy(headers), (), False, None, False, False,
            URL("/"),
        )  # fmt: skip
        connection = SimpleNamespace(visitor=None, found_already=None, trace=None)
        assert serving.at_once(message, EMPTY_PAYLOAD, connection)

    raw = Encoder({}, 0.0).spans(spans)
    assert MARK.encode() not in raw
    assert KEY.encode() not in raw
    assert len(spans) == len(requests)
    (of_us,) = ExportTraceServiceRequest.FromString(raw).resource_spans
    for span in of_us.scope_spans[0].spans:
        attributes = said(span.attributes)
        assert set(attributes) <= set(TABLE)
        assert attributes.get("http.route", VARDATA) in ROUTES
        assert attributes["http.request.method"] in {
            "GET", "POST", "HEAD", "OPTIONS", "PUT", "_OTHER",
        }  # fmt: skip


async def test_while_nothing_is_traced_nothing_of_it_is_in_the_way() -> None:
    async with serving() as served:
        assert type(served.server._carrier) is Carrier
        assert type(served.server._carrier._tally) is Tally
