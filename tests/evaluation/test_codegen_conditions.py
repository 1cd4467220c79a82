"""Every operator, compiled, against the obvious test of it: all values by all kinds of values."""

from typing import Any

import pytest

from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.operators import SET_OPERATORS, TEXT_OPERATORS, predicate
from proxy.evaluation.users import parse_user
from tests.evaluation.engines import match
from tests.evaluation.strategies import TEXTS, as_json

VALUES: tuple[list[str], ...] = (
    [],
    ["a"],
    ["A", "b"],
    ["(none)"],
    ["(none)", "a"],
    ["true"],
    ["TRUE", "x"],
    ["true", "false"],
    ["fal\u017fe", "a"],
    ["1"],
    ["1", "10", "x"],
    ["1.2.3"],
    ["1.2.3-b", "2.0"],
    ["İstanbul"],
    ["\uffee"],
    ["-0", "(none)"],
    ["NaN"],
    [""],
)
SELECTED: tuple[Any, ...] = (
    *TEXTS,
    None,
    *(0, 1, 10, 1.0, -0.0, 2.5, 1e21, True, False, 2**63 - 1, "\ud800"),
    *({}, {"a": 1}, [], [None], ["a"], ["A", "b"], ["a", None, "a"], ["true"], ["TRUE", "true"]),
    *([True], [1, "1"], [1.0], ["true", "false"], ["1.2.3"], ["(none)"], [[]], [{"a": []}], [""]),
)


def flag(op: str, number: int, values: list[str]) -> dict[str, Any]:
    test = {"selector": ["context", "user", "p"], "op": op, "values": values}
    return {
        "key": str(number),
        "variants": {"on": {"key": "on"}},
        "segments": [{"conditions": [[test]], "variant": "on"}],
    }


@pytest.mark.parametrize("op", sorted(TEXT_OPERATORS | SET_OPERATORS | {"unknown", "IS"}))
def test_a_compiled_condition_holds_when_the_obvious_one_does(op: str) -> None:
    flags = [flag(op, number, values) for number, values in enumerate(VALUES)]
    deployment = compile_deployment(as_json(flags))
    tests = [predicate(op, tuple(values), match) for values in VALUES]

    for value in SELECTED:
        user = parse_user(as_json({"p": value}))
        expected = [str(number) for number, holds in enumerate(tests) if holds(user["p"])]
        assert [found.flag_key for found in deployment.evaluate(user)] == expected, value
