import math
from typing import Any

import msgspec
import pytest

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.interpreter import interpret
from proxy.evaluation.results import encode, result_json, selectable

RAW = (
    b'{"key":"f","metadata":{"a":"flag","b":"flag","c": [1, 2]},"segments":[{"variant":"v",'
    b'"metadata":{"b":"segment","d":{"x":1},"c":null}}],"variants":{"v":{"key":"\xc3\xa9",'
    b'"value": 1e3,"payload":{"n" : 1.50},"metadata":{"d":{"y":2}}},"bare":{"key":"bare"}}}'
)


def never(pattern: str, text: str) -> bool:
    raise AssertionError


def test_a_result_carries_the_texts_that_came_and_merged_metadata() -> None:
    flag = decode_flag(RAW)

    result = interpret({"f": flag}, {}, match=never)["f"]

    assert result_json(result) == (
        b'{"key":"\xc3\xa9","value":1e3,"payload":{"n" : 1.50},'
        b'"metadata":{"a":"flag","b":"segment","c":null,"d":{"y":2}}}'
    )


def test_selectors_find_key_value_and_metadata_but_no_payload() -> None:
    result = interpret({"f": decode_flag(RAW)}, {}, match=never)["f"]

    assert selectable(result) == {
        "key": "é",
        "value": 1000,
        "metadata": {"a": "flag", "b": "segment", "c": None, "d": {"y": 2}},
    }


def test_absent_members_are_left_out() -> None:
    flag = decode_flag(
        b'{"key":"f","segments":[{"variant":"v"}],"variants":{"v":{"key":"v","value":null}}}'
    )

    result = interpret({"f": flag}, {}, match=never)["f"]

    assert result_json(result) == b'{"key":"v"}'
    assert selectable(result) == {"key": "v"}


@pytest.mark.parametrize("value", [{"a": [1, "é", None]}, "\ud800", {"a": ["\udfff", 1.5]}])
def test_plain_json_is_written_whatever_its_texts_hold(value: Any) -> None:
    written = encode(value)

    assert written.decode()
    if "\\ud" not in repr(value):
        assert msgspec.json.decode(written) == value
    else:
        assert b"\\ud" in written


def test_plain_json_is_written_at_any_depth() -> None:
    depth = 100_000
    value: Any = [math.inf, 1.5, True, None]
    for _ in range(depth):
        value = [value]

    assert encode(value) == b"[" * depth + b"[null,1.5,true,null]" + b"]" * depth
