"""Which requests and calls are traced, and what their spans say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.telemetry.attributes import BOTH, LONGEST_TEXT, METHODS, REQUESTS, TABLE, allowed
from proxy.telemetry.context import during
from proxy.telemetry.encoding import Encoder, refused_spans
from proxy.telemetry.spans import Begun, Span, Tracer
from tests.fakes.collector import said

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))
AT = 1_700_000_000.5


class Traced:
    """A tracer with a scripted draw, and the spans that it recorded."""

    def __init__(self, ratio: float = 0.5, draw: float = 0.9, **changes: Any) -> None:
        self.spans: list[Span] = []
        self.draws = 0
        self._draw = draw
        self.tracer = Tracer(ratio, self.spans.append, lambda: AT, self._chance, **changes)

    def _chance(self) -> float:
        self.draws += 1
        return self._draw

    def begin(self, **headers: str) -> Begun | None:
        return self.tracer.begin(CIMultiDictProxy(CIMultiDict(headers)))


def decoded(*spans: Span) -> list[Any]:
    raw = Encoder({"service.name": "s"}, AT).spans(spans)
    (of_us,) = ExportTraceServiceRequest.FromString(raw).resource_spans
    assert said(of_us.resource.attributes) == {"service.name": "s"}
    (scope,) = of_us.scope_spans
    assert scope.scope.name == "evaluation-proxy"
    return list(scope.spans)


@pytest.mark.parametrize(
    ("ratio", "draw", "is_sampled"),
    [(0.5, 0.49, True), (0.5, 0.5, False), (0.0, 0.0, False), (1.0, 0.999999, True)],
)
def test_a_request_without_a_trace_is_sampled_by_chance(
    ratio: float, draw: float, is_sampled: bool
) -> None:
    begun = Traced(ratio, draw).begin()

    assert (begun is not None) is is_sampled
    assert begun is None or begun.parent_id == ""


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_request_with_a_trace_is_sampled_as_that_is(ratio: float) -> None:
    traced = Traced(ratio, 0.5)
    begun = traced.begin(traceparent=SAMPLED, tracestate="a=1")

    for unsampled in (NOT_SAMPLED, f"cc{NOT_SAMPLED[2:]}-what-comes-later"):
        assert traced.begin(traceparent=unsampled) is None
    assert begun is not None
    assert (begun.trace_id, begun.parent_id, begun.state) == (TRACE, PARENT, "a=1")
    assert traced.draws == 0
    assert (traced.begin(traceparent="rubbish") is not None) is bool(ratio)
    assert traced.draws == 1


def test_a_trace_of_strangers_can_be_left_alone() -> None:
    traced = Traced(0.5, 0.9, parent_based=False)
    assert traced.begin(traceparent=SAMPLED) is None

    begun = Traced(0.5, 0.1, parent_based=False).begin(traceparent=NOT_SAMPLED)
    assert begun is not None
    assert begun.trace_id != TRACE


def test_a_span_has_its_place_and_its_time() -> None:
    traced = Traced()
    traced.tracer.scheme, traced.tracer.port = "https", 3546
    begun = traced.begin(traceparent=SAMPLED, tracestate="a=1")
    assert begun is not None
    traced.tracer.end(begun, "POST", "/sdk/v2/vardata", 200, 0.25)
    traced.tracer.end(begun, "POST", "/sdk/v2/vardata", 500, 0.5)

    (span,) = decoded(*traced.spans)

    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.trace_state, span.flags) == ("a=1", 0x301)
    assert span.start_time_unix_nano == int(AT * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert (span.name, span.kind) == ("POST /sdk/v2/vardata", span.SPAN_KIND_SERVER)
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert said(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/sdk/v2/vardata",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "server.port": 3546,
    }


def test_failures_are_errors_and_odd_methods_are_other() -> None:
    traced = Traced(1.0)
    for method, route, status in [("GET", "", 404), ("BREW", "", 503), ("BREW", "/a", 405)]:
        begun = traced.begin()
        assert begun is not None
        traced.tracer.end(begun, method, route, status, 0.0)

    missing, failed, odd = decoded(*traced.spans)

    assert (missing.name, failed.name, odd.name) == ("GET", "HTTP", "HTTP /a")
    assert missing.status.code == missing.status.STATUS_CODE_UNSET
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert said(failed.attributes)["error.type"] == "503"
    assert said(odd.attributes)["http.request.method"] == "_OTHER"
    assert "http.route" not in said(missing.attributes)


def test_calls_belong_to_the_request_that_they_are_made_for() -> None:
    traced = Traced(1.0)
    request = traced.begin(traceparent=SAMPLED)
    assert request is not None
    with during(request):
        child = traced.tracer.begin_call(is_of_request=True)
        own = traced.tracer.begin_call(is_of_request=False)

    assert child is not None
    assert (child.trace_id, child.parent_id) == (TRACE, request.span_id)
    assert not child.has_remote_parent
    assert own is not None
    assert own.parent_id == ""
    assert own.trace_id != TRACE
    assert traced.tracer.begin_call(is_of_request=True) is None


def test_all_spans_have_ids_of_their_own() -> None:
    traced = Traced(1.0)
    begun = [traced.begin() for _ in range(1000)]

    assert len({one.trace_id for one in begun if one}) == 1000
    assert len({one.span_id for one in begun if one}) == 1000


VALUES = st.one_of(
    st.text(max_size=400),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(),
    st.none(),
    st.binary(max_size=4),
)


@given(st.dictionaries(st.sampled_from(sorted(TABLE)) | st.text(max_size=30), VALUES))
def test_nothing_leaves_that_the_table_does_not_know(attributes: dict[str, Any]) -> None:
    span = Span(
        name="n",
        is_call=False,
        trace_id=TRACE,
        span_id=PARENT,
        parent_id="",
        has_remote_parent=False,
        state="",
        begins=1,
        ends=2,
        has_failed=False,
        attributes=attributes,
    )
    (sent,) = decoded(span)

    for name, value in said(sent.attributes).items():
        assert name in TABLE
        assert type(value) is TABLE[name].type
        given = attributes[name]
        assert value == given or (isinstance(value, str) and len(value) <= LONGEST_TEXT)
    assert len(sent.attributes) == len(allowed(attributes))


@given(
    st.text(max_size=10),
    st.sampled_from(["/sdk/v2/vardata", ""]),
    st.integers(100, 599),
    st.text(max_size=20),
)
def test_a_requests_span_says_nothing_of_its_own_text(
    method: str, route: str, status: int, secret: str
) -> None:
    traced = Traced(1.0)
    begun = traced.begin(authorization=secret, traceparent=secret)
    assert begun is not None
    traced.tracer.end(begun, method, route, status, 0.1)

    (span,) = decoded(*traced.spans)

    attributes = said(span.attributes)
    assert attributes["http.request.method"] in {*METHODS, "_OTHER"}
    assert set(attributes) <= {n for n, one in TABLE.items() if one.spans in {BOTH, REQUESTS}}
    texts = {value for value in attributes.values() if isinstance(value, str)}
    assert texts <= {*METHODS, "_OTHER", route, "http", str(status)}
    assert span.name.split()[0] in {*METHODS, "HTTP"}
    assert span.name.partition(" ")[2] == route


@pytest.mark.parametrize("answer", [b"", b"\xff\xff", b"OK", b'{"a":1}'])
def test_an_answer_that_says_nothing_refuses_nothing(answer: bytes) -> None:
    assert refused_spans(answer) == 0
