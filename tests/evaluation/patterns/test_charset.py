"""Sets of code points obey the laws of sets."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.patterns.charset import (
    EVERYTHING,
    LAST,
    NOTHING,
    Both,
    Negated,
    Property,
    Spans,
    Union,
    intersect,
    negate,
    spans,
    union,
)

LETTERS = Property(r"\p{L}", r"\p{L}")
DIGITS = Property(r"\p{Nd}", r"\p{Nd}")
small = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair)))
)


def members(charset: object, limit: int = 60) -> set[int]:
    assert isinstance(charset, Spans)
    return {code for low, high in charset.spans for code in range(low, min(high, limit) + 1)}


@given(small)
def test_spans_are_sorted_and_apart(pairs: list[tuple[int, int]]) -> None:
    found = spans(pairs)

    assert members(found) == {code for low, high in pairs for code in range(low, high + 1)}
    for (_, high), (low, _) in zip(found.spans, found.spans[1:], strict=False):
        assert low > high + 1


@given(small, small)
def test_known_spans_combine_as_sets_do(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    a, b = spans(left), spans(right)

    assert members(union(a, b)) == members(a) | members(b)
    assert members(intersect(a, b)) == members(a) & members(b)
    assert members(negate(a)) == set(range(61)) - members(a)
    assert negate(negate(a)) == a


def test_properties_stay_names() -> None:
    assert negate(negate(LETTERS)) == LETTERS
    assert negate(LETTERS) == Negated(LETTERS)
    assert intersect(LETTERS, LETTERS) == LETTERS
    assert intersect(LETTERS, DIGITS) == Both(LETTERS, DIGITS)
    assert union(LETTERS, LETTERS) == LETTERS
    assert union(LETTERS, union(DIGITS, LETTERS)) == Union((LETTERS, DIGITS))


def test_everything_and_nothing_are_opposites() -> None:
    assert negate(EVERYTHING) == NOTHING
    assert negate(NOTHING) == EVERYTHING == spans([(0, LAST)])
