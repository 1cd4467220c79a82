import gzip
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.limits import (
    MOST_MEMBERS,
    MOST_PARTS,
    has_too_many_parts,
    inflate,
    is_too_deep,
)
from proxy.errors import BadRequest


def test_bodies_without_encoding_stay_as_they_are() -> None:
    assert inflate(b"abc", "identity", 1) == b"abc"
    assert inflate(b"abc", " ", 1) == b"abc"


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_gzip_is_undone_with_all_its_members(first: bytes, second: bytes) -> None:
    body = gzip.compress(first) + gzip.compress(second)

    assert inflate(body, "X-GZip", 600) == first + second


@given(st.binary(min_size=1, max_size=100))
def test_what_is_no_gzip_is_the_clients_mistake(body: bytes) -> None:
    for broken in (body, gzip.compress(body)[:-1], gzip.compress(body) + body):
        with pytest.raises(BadRequest) as caught:
            inflate(broken, "gzip", 10_000)
        assert caught.value.status == 400


def test_a_bomb_costs_no_more_than_the_bound() -> None:
    bomb = zlib.compress(bytes(64 * 2**20), 9, 31)
    tracemalloc.start()

    with pytest.raises(BadRequest) as caught:
        inflate(bomb, "gzip", 2**20)

    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert caught.value.status == 413


def test_the_bound_holds_over_all_members() -> None:
    member = gzip.compress(bytes(100))

    assert len(inflate(member * 3, "gzip", 300)) == 300
    with pytest.raises(BadRequest):
        inflate(member * 3, "gzip", 299)


def test_other_encodings_are_not_supported() -> None:
    with pytest.raises(BadRequest) as caught:
        inflate(b"abc", "br", 10)
    assert caught.value.status == 415


JSON = st.recursive(
    st.integers() | st.text("[{a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a["), inner, max_size=3),
)


@given(JSON, st.integers(1, 6))
def test_depth_counts_containers_within_containers(value: Any, most: int) -> None:
    def depth(part: Any) -> int:
        inner = part.values() if isinstance(part, dict) else part
        return 1 + max(map(depth, inner), default=0) if isinstance(part, dict | list) else 0

    assert is_too_deep(msgspec.json.encode(value), value, most) is (depth(value) > most)


def test_a_body_of_countless_members_is_refused_before_they_are_read() -> None:
    member = gzip.compress(b"")

    assert inflate(member * MOST_MEMBERS, "gzip", 10) == b""
    with pytest.raises(BadRequest) as caught:
        inflate(member * (MOST_MEMBERS + 1), "gzip", 10)
    assert caught.value.status == 413


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,", b'"a",'])
def test_countless_values_are_noticed_without_reading_them(part: bytes) -> None:
    assert has_too_many_parts(b"[" + part * MOST_PARTS + b"1]")
    assert not has_too_many_parts(b"[" + part * 1000 + b'"' + b"x" * MOST_PARTS + b'"]')
