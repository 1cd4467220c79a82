import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.lists import LENIENT_LIMIT, members, read_array
from proxy.evaluation.text import text
from proxy.evaluation.users import parse_json

STRICT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-1e9, 1e9, allow_subnormal=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(alphabet='[]{},:"\\ \t\nabnulTRUE0123.eE+-xpdf\x01\x7fſ\ud83d\ude00', max_size=20))
def test_the_lenient_reader_never_raises(tail: str) -> None:
    elements = read_array("[" + tail)

    assert elements is None or isinstance(elements, list)


@given(st.lists(STRICT), st.sampled_from([None, 1, "\t"]))
def test_what_is_strict_json_is_read_alike(value: list[Any], indent: int | str | None) -> None:
    written = json.dumps(value, indent=indent)

    assert read_array(written) == value == parse_json(written.encode())
    assert members(written) == members(value)


@given(st.lists(STRICT))
def test_members_are_the_texts_without_nulls_and_repeats(value: list[Any]) -> None:
    listed = members(value)

    assert listed is not None
    assert len(set(listed)) == len(listed)
    assert [text(item) for item in value if item is not None and text(item) in listed] == [
        text(item) for item in value if item is not None
    ]


@pytest.mark.parametrize("value", ["plain", " [1]", "", "{}", 1, True, None, {"a": 1}, 1.5])
def test_other_values_are_no_lists(value: Any) -> None:
    assert members(value) is None


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("[]", ()),
        ("[ ]\n", ()),
        ('["a","b","a"]', ("a", "b")),
        ('["", null]', ("",)),
        ("[beta]", ()),
        ("[a, b]", ()),
        ("[1, x]", ("1",)),
        ("[01]", ("1",)),
        ("[+1, .5, 5., 1f, NaN, -Infinity]", ("1.0", "0.5", "5.0", "NaN", "-Infinity")),
        ("[1.0, 1e3, 1e400]", ("1.0", "1000", "Infinity")),
        ("[True, FALSE, falſe]", ("true", "false")),
        ("[NULL, Null, null, 'a', ~, \x7f]", ()),
        ('["raw\ncontrol\x01"]', ("raw\ncontrol\x01",)),
        ('[{a: 1, "b": [x, 2.0]}]', ('{"a":1,"b":[null,2.0]}',)),
        ("[{}, {true: false}, [[]]]", ("{}", '{"true":false}', "[[]]")),
        ("[{a: 1, b: 2, a: 3}]", ('{"a":3,"b":2}',)),
        (r'["\u0041\n\/"]', ("A\n/",)),
        (r'["\ud83d\ude00"]', ("😀",)),
        ('["\\ud83d\ude00"]', ("😀",)),
        (r'["\ud83d"]', ("\ud83d",)),
        ("[18446744073709551616]", ("1.8446744073709552E19",)),
    ],
)
def test_texts_that_spell_an_array(written: str, listed: tuple[str, ...]) -> None:
    assert members(written) == listed


@pytest.mark.parametrize(
    "written",
    [
        "[",
        "[1,2,]",
        "[,1]",
        "[,]",
        "[1 2]",
        "[1]x",
        "[1]]",
        "[1][2]",
        "[1],",
        "[not json",
        '["a',
        '["a\\x"]',
        '["\\u12g4"]',
        '[a"b"]',
        '["a"b]',
        "[{a}]",
        "[{a:}]",
        "[{,}]",
        "[{a:1,}]",
        "[{]",
        "[}",
        "[{a:1]",
        "[{a::1}]",
        "[{a 1}]",
        "[{[]:1}]",
        "[1:2]",
        "[:]",
        "[\x01]",
        "[a\x01]",
        "[\\]",
        "[{a:1 b:2}]",
        '["\\',
        "[\xa01\\]",
        "[1]{",
        "[1]\x00",
        "[{a:{}",
        "[{a:,}]",
    ],
)
def test_other_texts_with_a_bracket_are_ordinary(written: str) -> None:
    assert members(written) is None


@pytest.mark.parametrize("written", ["", "1", "{}", "a", '"a"', ",", "]", ":"])
def test_only_an_array_is_read(written: str) -> None:
    assert read_array(written) is None


def test_any_depth_of_nesting_can_be_read() -> None:
    depth = LENIENT_LIMIT // 2

    listed = members("[" * depth + "]" * depth)

    assert listed == ("[" * (depth - 1) + "]" * (depth - 1),)


def test_the_lenient_reader_takes_on_no_more_than_its_limit() -> None:
    assert members("[" + " " * (LENIENT_LIMIT - 3) + "a]") == ()
    assert members("[" + " " * (LENIENT_LIMIT - 2) + "a]") is None


def test_strict_json_is_read_at_any_length() -> None:
    listed = members(json.dumps(list(range(LENIENT_LIMIT))))

    assert listed is not None
    assert len(listed) == LENIENT_LIMIT


def test_numbers_in_a_list_keep_their_own_text() -> None:
    assert members([1, 1.0, True, "1", math.inf, [1], {"a": None}]) == (
        "1",
        "1.0",
        "true",
        "Infinity",
        "[1]",
        '{"a":null}',
    )
