"""Conditions in plain words."""

from typing import Any

import pytest

from proxy.sandbox.reading import FileMistake, Node
from proxy.sandbox.targeting import OPERATORS, condition

USER = ["context", "user"]
PROPERTIES = [*USER, "user_properties"]


def wire(words: str) -> tuple[list[str], str, list[str]]:
    found = condition(Node(1, words))
    return found["selector"], found["op"], found["values"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("country is Germany, Austria", ([*USER, "country"], "is", ["Germany", "Austria"])),
        ("plan is not free", ([*PROPERTIES, "plan"], "is not", ["free"])),
        ('"full name" contains Ada', ([*PROPERTIES, "full name"], "contains", ["Ada"])),
        ("age at least 18", ([*PROPERTIES, "age"], "greater or equal", ["18"])),
        ("age less than 18", ([*PROPERTIES, "age"], "less", ["18"])),
        ("version at least 2.10.0", ([*USER, "version"], "version greater or equal", ["2.10.0"])),
        ("version less 2", ([*USER, "version"], "version less", ["2"])),
        ("version is 2.1.0", ([*USER, "version"], "is", ["2.1.0"])),
        ("build version at most 1.2", ([*PROPERTIES, "build"], "version less or equal", ["1.2"])),
        ("email matches a{1,2}@b, c", ([*PROPERTIES, "email"], "regex match", ["a{1,2}@b, c"])),
        ("email does not match .*", ([*PROPERTIES, "email"], "regex does not match", [".*"])),
        ("tags set contains any a,b", ([*PROPERTIES, "tags"], "set contains any", ["a", "b"])),
        ("nickname is", ([*PROPERTIES, "nickname"], "is", [])),
        ("group:org is acme", (["context", "groups", "org", "group_name"], "is", ["acme"])),
        (
            "group:org.plan is big",
            (["context", "groups", "org", "group_properties", "plan"], "is", ["big"]),
        ),
        ("in cohort beta, gamma", ([*USER, "cohort_ids"], "set contains any", ["beta", "gamma"])),
        ("not in cohort beta", ([*USER, "cohort_ids"], "set does not contain any", ["beta"])),
        (
            "org in cohort big",
            (["context", "groups", "org", "cohort_ids"], "set contains any", ["big"]),
        ),
        ("flag other is on, red", (["result", "other", "key"], "is", ["on", "red"])),
        ("flag other is not on", (["result", "other", "key"], "is not", ["on"])),
    ],
)
def test_words_become_a_condition(words: str, expected: tuple[Any, ...]) -> None:
    assert wire(words) == expected


@pytest.mark.parametrize("op", sorted(set(OPERATORS.values())))
def test_every_operator_can_be_named_as_on_the_wire(op: str) -> None:
    assert wire(f"colour {op} red")[1:] == (op, ["red"])


def test_a_map_spells_a_condition_out() -> None:
    selector = [Node(1, "context"), Node(1, "user"), Node(1, "x")]
    written = {"selector": Node(1, selector), "op": Node(1, "is"), "values": Node(1, "a, b")}
    named = {"property": Node(1, "country"), "op": Node(1, "at least"), "values": Node(1, "a, b")}

    spelled, by_name = condition(Node(1, written)), condition(Node(1, named))

    assert spelled == {"selector": [*USER, "x"], "op": "is", "values": ["a, b"]}
    assert by_name["selector"] == [*USER, "country"]
    assert by_name["op"] == "greater or equal"


@pytest.mark.parametrize("words", ["country", "country equals Germany", "", "is Germany"])
def test_words_that_say_nothing_are_a_mistake(words: str) -> None:
    with pytest.raises(FileMistake, match=r"line 4: cannot read the condition"):
        condition(Node(4, words))


def test_an_unknown_operator_is_a_mistake() -> None:
    with pytest.raises(FileMistake, match="there is no operator 'equals'"):
        condition(Node(1, {"property": Node(1, "a"), "op": Node(2, "equals")}))
