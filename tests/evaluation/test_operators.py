from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.lists import members
from proxy.evaluation.operators import (
    NEGATED,
    ORDERINGS,
    SET_OPERATORS,
    TEXT_OPERATORS,
    holds_for_null,
    predicate,
)

OPERATORS = sorted(TEXT_OPERATORS | SET_OPERATORS)
TEXTS = st.sampled_from(
    [
        "a",
        "b",
        "A",
        "",
        "true",
        "TRUE",
        "false",
        "falſe",
        "(none)",
        "1",
        "1.0",
        "-0",
        "NaN",
        "1.2.3",
        "1.10",
        "[a",
        "￮",
        "😀",
        "İ",
    ]
)
VALUES = st.lists(TEXTS, max_size=4, unique=True).map(tuple)
SELECTED = (
    TEXTS
    | st.lists(TEXTS | st.integers(0, 3) | st.booleans() | st.none(), max_size=4)
    | st.sampled_from([None, True, 1, 1.0, {}, {"a": 1}, '["a","b"]', "[a]"])
)


def equal(pattern: str, text: str) -> bool:
    return pattern == text


def holds(op: str, value: Any, *values: str) -> bool:
    return predicate(op, values, equal)(value)


@given(st.sampled_from(OPERATORS), SELECTED, VALUES)
def test_an_operator_holds_or_not(op: str, value: Any, values: tuple[str, ...]) -> None:
    assert predicate(op, values, equal)(value) in (True, False)


@given(st.sampled_from(sorted(NEGATED)), SELECTED, VALUES)
def test_a_negated_operator_is_the_contrary_for_a_scalar_and_a_set(
    op: str, value: Any, values: tuple[str, ...]
) -> None:
    listed = members(value) is not None
    if value is None or listed != (op in SET_OPERATORS):
        return
    assert holds(op, value, *values) is not holds(NEGATED[op], value, *values)


@given(st.sampled_from(sorted(TEXT_OPERATORS)), SELECTED, VALUES)
def test_another_operator_holds_for_a_list_when_it_does_for_any_member(
    op: str, value: Any, values: tuple[str, ...]
) -> None:
    listed = members(value)
    if listed is not None:
        one_by_one = [holds(op, member, *values) for member in listed if not member.startswith("[")]
        if len(one_by_one) == len(listed):
            assert holds(op, value, *values) == any(one_by_one)


@given(st.sampled_from(sorted(SET_OPERATORS)), SELECTED, VALUES)
def test_a_set_operator_never_holds_for_a_scalar(
    op: str, value: Any, values: tuple[str, ...]
) -> None:
    if value is not None and members(value) is None:
        assert not holds(op, value, *values)


def same_word(one: str, other: str) -> bool:
    return one == other or one.upper() == other.upper() in ("TRUE", "FALSE")


OBVIOUS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "set is": lambda listed, values: listed == values,
    "set contains": lambda listed, values: (
        len(listed) >= len(values)
        and all(any(same_word(value, member) for member in listed) for value in values)
    ),
    "set contains any": lambda listed, values: any(
        same_word(value, member) for value in values for member in listed
    ),
}


@given(st.sampled_from(sorted(OBVIOUS)), st.lists(TEXTS), VALUES)
def test_set_operators_are_what_their_names_say(
    op: str, listed: list[str], values: tuple[str, ...]
) -> None:
    assert holds(op, listed, *values) == OBVIOUS[op](set(listed), set(values))


@pytest.mark.parametrize("op", OPERATORS)
def test_for_null_only_the_none_value_matters(op: str) -> None:
    with_none, without = holds(op, None, "(none)", "a"), holds(op, None, "a")

    if op == "regex match":
        assert (with_none, without) == (False, False)
    elif op in ("regex does not match", "set is not"):
        assert (with_none, without) == (True, True)
    elif op in NEGATED:
        assert (with_none, without) == (False, True)
    else:
        assert (with_none, without) == (True, False)
    assert holds_for_null(op, ()) == without


@pytest.mark.parametrize("op", ["", "IS", "glob match", "set", "version", "version is"])
@pytest.mark.parametrize("value", [None, "a", ["a"], "(none)"])
def test_an_unknown_operator_never_holds(op: str, value: Any) -> None:
    assert not holds(op, value, "a", "(none)")
    assert not holds_for_null(op, ["(none)"])


@pytest.mark.parametrize(
    ("value", "op", "values", "held"),
    [
        ("TRUE", "is", ["true"], True),
        ("fal\u017fe", "is", ["false"], True),
        ("true", "is", ["x"], False),
        ("true", "is", ["TRUE", "x"], True),
        ("true", "is", ["false"], False),
        ("X", "is", ["x"], False),
        ("yes", "is", ["yes", "true"], True),
        (True, "is not", ["TRUE"], False),
        (["A", "B"], "is not", ["A"], True),
        ([], "is not", ["A"], False),
        ("abc", "contains", [""], True),
        ("ABC", "contains", ["bC"], True),
        ("İstanbul", "contains", ["istanbul"], False),
        ("abc", "contains", [], False),
        ("abc", "does not contain", [], True),
        ("5", "less", ["10"], True),
        ("5f", "less", ["40"], True),
        ("", "less", ["1"], True),
        ("0x10", "greater", ["9"], False),
        ("infinity", "greater", ["1"], True),
        ("NaN", "greater", ["1"], True),
        ("NaN", "less or equal", ["NaN"], True),
        ("-0", "less", ["0"], True),
        ("2026-03-01", "greater", ["2026-02-28"], True),
        ("5", "less", ["x", "4"], False),
        ("5", "less", ["x"], True),
        ("b", "greater or equal", ["b"], True),
        (5, "greater", [], False),
        ("v1.2.4", "version greater", ["v1.2.3"], True),
        ("1.10.0", "version greater", ["1.9"], True),
        ("1.10.", "version less", ["1.10.0"], True),
        ("1.2.3-9", "version greater or equal", ["1.2.3-10"], True),
        ("1.2.3+a", "version less or equal", ["1.2.3+b"], True),
        ("\uffee", "greater", ["\U0001f600"], True),
        ("\ud800", "less", ["\U0001f600"], True),
        ("b", "regex match", ["a", "b"], True),
        ("c", "regex does not match", ["a", "b"], True),
        ("c", "regex match", [], False),
        (["true"], "set contains", ["true", "TRUE"], False),
        (["a"], "set contains", [], True),
        ([], "set contains any", [], False),
        ("[beta]", "set is not", ["a"], True),
        ("[beta]", "is", ["[beta]"], False),
        ("[1,2,]", "is", ["[1,2,]"], True),
        ([True], "set is", ["TRUE"], False),
        ([True], "set contains any", ["TRUE"], True),
        ({"a": 1.0}, "is", ['{"a":1.0}'], True),
    ],
)
def test_conditions_of_the_reference(value: Any, op: str, values: list[str], held: bool) -> None:
    assert holds(op, value, *values) is held


def test_every_ordering_compares_numbers_and_versions() -> None:
    for name, compare in ORDERINGS.items():
        for one in ("9", "10", "10.0"):
            assert holds(name, one, "10") == compare(float(one), 10.0)
        for version in ("1.9", "1.10", "1.11"):
            assert holds(f"version {name}", version, "1.10") == compare(int(version[2:]), 10)


def test_a_pattern_after_a_match_is_never_tried() -> None:
    tried: list[str] = []

    def match(pattern: str, text: str) -> bool:
        tried.append(pattern)
        return pattern == text

    assert predicate("regex match", ["a", "b", "c"], match)("b")
    assert not predicate("regex match", ["a"], match)(None)
    assert tried == ["a", "b"]
