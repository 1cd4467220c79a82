import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.users import evaluation_context, group_contexts, parse_json, parse_user

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text(st.characters(codec="utf-8") | st.characters(categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_all_json_is_read(value: Any) -> None:
    written = json.dumps(value).encode()

    read = parse_json(written)

    assert read == json.loads(written)  # not `value`: two halves of a pair became one character


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_a_number_with_a_point_stays_a_double(number: float) -> None:
    read = parse_json(json.dumps(number).encode())

    assert read == number
    assert isinstance(read, float) or "." not in json.dumps(number)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e3", 1000),
        ("[1E+3,1.0e3]", [1000, 1000.0]),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2.0**63),
        ("-9223372036854775809", -(2.0**63)),
        ('{"a":-18446744073709551616}', {"a": -(2.0**64)}),
        ("[1,\n12345678901234567890 ]", [1, 12345678901234567890.0]),
        ('"12345678901234567890"', "12345678901234567890"),
        ('["x12345678901234567890", 1.5]', ["x12345678901234567890", 1.5]),
        ("9" * 5000, math.inf),
        ('[" 1234567890123456789012", 1e2, "\\ud800"]', [" 1234567890123456789012", 100, "\ud800"]),
        ('"\\ud800x"', "\ud800x"),
        ('"\\ud83d\\ude00"', "😀"),
        ('["\\udc00", 1e3, 1.0]', ["\udc00", 1000, 1.0]),
        ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        ("1e400", math.inf),
    ],
)
def test_numbers_and_texts_at_the_edges(written: str, value: Any) -> None:
    read = parse_json(written.encode())

    assert read == value
    assert repr(read) == repr(value)  # 1 is not 1.0 here


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"nul",
        b"{",
        b"[1,]",
        b"{a:1}",
        b"NaN",
        b"Infinity",
        b"-",
        b"01",
        b"1.",
        b"'a'",
        b"{}{}",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b'"\\x"',
        b"\xef\xbb\xbf{}",
        b"[" * 100000,
        b'["\\ud800",]',
        b'["\\ud800", NaN]',
        b'["\\ud800", "\xff"]',
        b'["\\ud800",' + b"[" * 100000,
        b"[12345678901234567890,",
        b"[12345678901234567890, 01]",
        b"[12345678901234567890, Infinity]",
        b'[12345678901234567890, "\x01"]',
        b"12345678901234567890\xff",
        b"-12345678901234567890-",
    ],
)
def test_what_is_not_strict_json_is_a_value_error(written: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_json(written)

    assert len(str(caught.value)) < 200
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("written", [b"[]", b"null", b"1", b'"{}"', b"true"])
def test_a_user_is_an_object(written: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JSON object"):
        parse_user(written)


def test_a_user_is_read() -> None:
    assert parse_user(b' {"user_id": "u", "n": 1e3} ') == {"user_id": "u", "n": 1000}


def test_an_empty_user_gives_an_empty_context() -> None:
    assert evaluation_context({}) == {}


def test_group_members_move_to_the_groups_and_all_others_stay() -> None:
    user = {
        "user_id": None,
        "custom": 1,
        "groups": {"org": ["acme", "other"], "team": [""]},
        "group_properties": {"org": {"acme": {"plan": "pro"}, "other": {"plan": "x"}}},
        "group_cohort_ids": {"org": {"acme": ["c1"]}},
    }

    assert evaluation_context(user) == {
        "user": {"user_id": None, "custom": 1},
        "groups": {
            "org": {
                "group_name": "acme",
                "group_properties": {"plan": "pro"},
                "cohort_ids": ["c1"],
            },
            "team": {"group_name": ""},
        },
    }


@pytest.mark.parametrize(
    "groups",
    [
        None,
        {},
        [],
        ["org"],
        "org",
        1,
        {"org": "acme"},
        {"org": []},
        {"org": [7]},
        {"org": [None, "b"]},
        {"org": {"acme": 1}},
        {"org": None},
    ],
)
def test_groups_without_a_usable_name_are_skipped(groups: Any) -> None:
    context = evaluation_context({"user_id": "u", "groups": groups})

    assert context == {"user": {"user_id": "u"}}


@pytest.mark.parametrize("found", [None, {}, [], "x", 1])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_properties_and_cohorts_of_another_shape_are_left_out(found: Any, depth: int) -> None:
    nested = [found, {"org": found}, {"org": {"acme": found}}][depth]
    user = {"groups": {"org": ["acme"]}, "group_properties": nested, "group_cohort_ids": nested}

    assert group_contexts(user) == {"org": {"group_name": "acme"}}


@given(st.dictionaries(st.sampled_from(["groups", "group_properties", "a"]), VALUES))
def test_any_user_gives_a_context(user: dict[str, Any]) -> None:
    context = evaluation_context(user)

    assert context.keys() <= {"user", "groups"}
    assert bool(context) == bool(user)
