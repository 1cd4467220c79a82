"""Selectors of every form, as conditions and as bucketing values, against the interpreter."""

from typing import Any

import pytest

from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.interpreter import interpret
from proxy.evaluation.users import parse_user
from tests.evaluation.engines import match
from tests.evaluation.strategies import as_json

SELECTORS: tuple[list[str], ...] = (
    [],
    ["context"],
    ["context", "user"],
    ["context", "user", "p"],
    ["context", "user", "p", "q", "r"],
    ["context", "user", ""],
    ["context", "user", "groups"],
    ["context", "user", "groups", "org"],
    ["context", "user", "group_properties"],
    ["context", "user", "group_cohort_ids"],
    ["context", "groups"],
    ["context", "groups", "org"],
    ["context", "groups", "org", "group_name"],
    ["context", "groups", "org", "group_properties", "p"],
    ["context", "groups", "org", "cohort_ids"],
    ["context", "groups", "team", "group_name"],
    ["context", "other"],
    ["context", "other", "p"],
    ["result"],
    ["result", "a"],
    ["result", "a", "key"],
    ["result", "a", "value"],
    ["result", "a", "value", "p"],
    ["result", "a", "payload"],
    ["result", "a", "metadata"],
    ["result", "a", "metadata", "segmentName"],
    ["result", "ghost", "key"],
    ["other", "user", "p"],
    ["p"],
)
USERS: tuple[dict[str, Any], ...] = (
    {},
    {"p": "x"},
    {"p": {"q": {"r": ["x", 1, None]}}, "": "empty"},
    {"p": {"q": "x"}, "other": "p"},
    {"groups": {}},
    {"groups": {"org": ["acme"], "team": "red"}},
    {
        "user_id": "u",
        "groups": {"org": ["acme", "x"], "team": [7]},
        "group_properties": {"org": {"acme": {"p": 1.0}}},
        "group_cohort_ids": {"org": {"acme": ["c1", "c2"]}},
    },
    {"groups": "org", "group_properties": [], "group_cohort_ids": None},
)


def flags(selector: list[str], variant: str) -> list[dict[str, Any]]:
    tests = [
        {"selector": selector, "op": op, "values": ["x", "acme", "c1", "All Other Users"]}
        for op in ("is", "contains", "set contains any", "set is not")
    ]
    bucket = {
        "selector": selector,
        "salt": "s",
        "allocations": [
            {"range": [0, 60], "distributions": [{"variant": "on", "range": [0, 3 * 10**7]}]}
        ],
    }
    variants = {name: {"key": name, "value": name, "payload": name} for name in ("on", "off")}
    giving = {"variant": variant, "metadata": {"segmentName": "All Other Users"}}
    return [
        {"key": "a", "variants": variants, "segments": [giving]},
        *(
            {
                "key": f"reads {number}",
                "variants": variants,
                "segments": [{"conditions": [[test]], "variant": "on"}],
            }
            for number, test in enumerate(tests)
        ),
        {
            "key": "buckets",
            "variants": variants,
            "segments": [{"bucket": bucket, "variant": "off"}],
        },
    ]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda selector: ".".join(selector) or "empty")
@pytest.mark.parametrize("variant", ["on", "missing"])
def test_a_selector_finds_what_the_interpreter_finds(selector: list[str], variant: str) -> None:
    deployment = compile_deployment(as_json(flags(selector, variant)))

    for given in USERS:
        user = parse_user(as_json(given))
        expected = interpret(deployment.flags, user, match=match)
        found = {one.flag_key: one.variant_key for one in deployment.evaluate(user)}
        assert found == {key: result.variant.key for key, result in expected.items()}, given
