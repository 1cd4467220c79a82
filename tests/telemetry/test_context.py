"""What a request says of its trace, and what is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.telemetry.context import LONGEST_STATE, Parent, looks_unsampled, parent_of, state_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def parent(text: str, *states: str) -> Parent | None:
    return parent_of(headers(*(("TraceState", state) for state in states)), text)


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (GOOD, True),
        (GOOD[:-2] + "00", False),
        (GOOD[:-2] + "03", True),
        (GOOD[:-2] + "fe", False),
        (f" {GOOD} ", True),
        ("cc" + GOOD[2:], True),
        ("cc" + GOOD[2:] + "-what-comes-later", True),
    ],
)
def test_a_trace_goes_on_as_its_parent_says(text: str, is_sampled: bool) -> None:
    assert parent(text) == Parent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01",
        GOOD.upper(),
        GOOD + "-",
        GOOD + "-more",
        "ff" + GOOD[2:],
        "cc" + GOOD[2:] + "more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        GOOD.replace("-", "_"),
    ],
)
def test_what_is_no_parent_is_none(text: str) -> None:
    assert parent(text) is None


def test_of_several_parents_none_counts() -> None:
    for other in (GOOD, GOOD.replace("b7", "b8"), "rubbish"):
        given = headers(("traceparent", GOOD), ("Traceparent", other))
        assert parent_of(given, GOOD) is None
    assert parent_of(headers(("traceparent", GOOD)), GOOD) == Parent(TRACE, SPAN, is_sampled=True)


def test_what_is_not_sampled_is_seen_at_a_glance() -> None:
    assert looks_unsampled(GOOD[:-2] + "00")
    assert looks_unsampled(GOOD[:-2] + "02")
    for other in ("", GOOD, GOOD + "-0", GOOD[:-2] + "0b", "cc" + GOOD[2:-2] + "00-more"):
        assert not looks_unsampled(other)


@given(st.text(max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    found = parent(text, text)
    assert found is None or len(found.trace_id) == 32


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1", " b=2 ,, c@d=e f"], "a=1,b=2,c@d=e f"),
        ([], ""),
        (["A=1"], ""),
        (["a=1,b"], ""),
        (["a=\x1f"], ""),
        (["a=ü"], ""),
        (["a=" + "x" * LONGEST_STATE], ""),
        ([",".join(f"k{at}=1" for at in range(33))], ""),
    ],
)
def test_the_state_goes_along_whole_or_not_at_all(lines: list[str], state: str) -> None:
    assert state_of(headers(*(("tracestate", line) for line in lines))) == state
    found = parent(GOOD, *lines)
    assert found is not None
    assert found.state == state


def test_what_is_not_sampled_needs_no_state() -> None:
    found = parent(GOOD[:-2] + "00", "a=1")
    assert found is not None
    assert found.state == ""
