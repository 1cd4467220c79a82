import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.text import json_text, quoted, text
from proxy.evaluation.users import parse_json


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )


VALUES = nested(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text()
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-5, "-5"),
        (1.0, "1.0"),
        (None, None),
        ({}, "{}"),
        ([], "[]"),
        ({"b": 1, "a": "é"}, '{"b":1,"a":"é"}'),
        ([1.0, None, True, [1e21, {}]], "[1.0,null,true,[1.0E21,{}]]"),
        ({"a": {"b": [{"c": None}]}}, '{"a":{"b":[{"c":null}]}}'),
    ],
)
def test_the_text_form_of_a_value(value: Any, written: str | None) -> None:
    assert text(value) == written


def test_only_what_json_requires_is_escaped() -> None:
    assert quoted('"\\/\b\t\n\f\r\x00\x1f\x7fé💡\u2028\ud800') == (
        '"\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\x7fé💡\u2028\ud800"'
    )


@given(VALUES)
def test_json_text_reads_back_as_the_value(value: Any) -> None:
    assert json.loads(json_text(value)) == value
    assert parse_json(json_text(value).encode()) == value


@given(nested(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()))
def test_json_text_is_compact_and_leaves_other_letters_alone(value: Any) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_what_is_no_json_value_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        text({"a": {1}})


def test_any_depth_of_nesting_can_be_written() -> None:
    depth = 50_000
    value: Any = []
    for _ in range(depth):
        value = [value]

    assert text(value) == "[" * (depth + 1) + "]" * (depth + 1)
