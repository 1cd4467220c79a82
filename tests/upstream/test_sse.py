import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamGarbled
from proxy.upstream.sse import Event, EventParser

LINES = st.lists(
    st.sampled_from(
        [
            b"",
            b"",
            b"data: [1,2]",
            b"data:[1,2]",
            b"data:  ",
            b"data",
            b"data:",
            b": a comment",
            b":",
            b"event: other",
            b"event",
            b"id: 7",
            b"retry: 10",
            b"unknown: x",
            b"\xef\xbb\xbfdata: not a BOM here",
            "data: é\u2028".encode(),
        ]
    ),
    max_size=12,
)
STREAMS = st.builds(
    lambda bom, lines, ends: bom + b"".join(a + b for a, b in zip(lines, ends, strict=False)),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    LINES,
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=12, max_size=12),
)


def obvious(stream: bytes) -> list[Event]:
    """The events of a whole stream, straight from the standard's text."""
    events: list[Event] = []
    data, name = b"", b""
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if data:
                events.append(Event(data[:-1], name.decode() or "message"))
            data, name = b"", b""
        elif field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value
    return events


@given(STREAMS, st.lists(st.integers(0, 200)))
def test_events_are_the_same_however_the_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = EventParser()

    events = [
        event
        for begin, end in itertools.pairwise(places)
        for event in parser.feed(stream[begin:end])
    ]

    # A CR at the very end may yet become a CR LF, but ends the line all the same.
    assert events == obvious(stream)


@given(st.binary(), st.integers(1, 8))
def test_no_bytes_are_an_error(stream: bytes, size: int) -> None:
    parser = EventParser()
    for begin in range(0, len(stream), size):
        parser.feed(stream[begin : begin + size])


def test_the_vendors_stream_is_read_as_its_clients_read_it() -> None:
    stream = b'data: [{"key":"a"}]\n\ndata:  \n\n'

    assert EventParser().feed(stream) == [Event(b'[{"key":"a"}]'), Event(b" ")]


def test_an_event_is_complete_at_the_empty_line_behind_it() -> None:
    parser = EventParser()

    assert parser.feed(b"event: flags\ndata: one\ndata: two\n") == []
    assert parser.pending == 8
    assert parser.feed(b"\n") == [Event(b"one\ntwo", "flags")]
    assert parser.pending == 0


@pytest.mark.parametrize("piece", [b"data: aaaa\n", b"data: aaaa", b"data\n", b"event: aaaa"])
def test_an_event_without_end_is_garbled(piece: bytes) -> None:
    parser = EventParser(limit=100)

    with pytest.raises(UpstreamGarbled):
        feed_often(parser, piece)


def feed_often(parser: EventParser, piece: bytes) -> None:
    for _ in range(1000):
        parser.feed(piece)


def test_a_long_life_of_short_events_is_not_beyond_the_limit() -> None:
    parser = EventParser(limit=100)
    for _ in range(1000):
        assert len(parser.feed(b": comment\ndata: aaaa\n\n")) == 1
