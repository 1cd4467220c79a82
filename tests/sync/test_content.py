import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sync.content import is_empty, same_flags

FLAGS = st.lists(
    st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.lists(st.booleans()))
)


@given(FLAGS, st.randoms())
def test_order_and_spelling_make_no_other_flags(flags: list[object], chance: object) -> None:
    body = msgspec.json.encode(flags)
    turned = msgspec.json.format(msgspec.json.encode(flags[::-1], order="sorted"), indent=2)
    assert same_flags(body, turned)


@given(FLAGS, FLAGS)
def test_other_flags_are_not_the_same(one: list[object], other: list[object]) -> None:
    same = sorted(map(msgspec.json.encode, one)) == sorted(map(msgspec.json.encode, other))
    bodies = (msgspec.json.encode(one), msgspec.json.encode(other))
    if len(one) != len(other):
        assert not same_flags(*bodies)
    elif same:
        assert same_flags(*bodies)


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b'["\\ud800"]', b"[" * 100_000])
def test_what_is_no_array_is_like_nothing_but_itself(body: bytes) -> None:
    assert not same_flags(body, b"[]")
    assert same_flags(body, body)


@pytest.mark.parametrize(
    ("body", "empty"),
    [(b"[]", True), (b" [\r\n\t] ", True), (b"", False), (b"[0]", False), (b"[[]]", False)],
)
def test_an_array_without_flags_is_empty(body: bytes, empty: bool) -> None:
    assert is_empty(body) is empty
