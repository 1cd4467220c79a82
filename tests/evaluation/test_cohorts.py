"""Which cohorts a flag targets, and so which have to be there."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.cohorts import Target, targets
from proxy.evaluation.decode import decode_flag
from proxy.evaluation.deployment import compile_deployment

ANY, NOT_ANY = "set contains any", "set does not contain any"
USER = ["context", "user", "cohort_ids"]
ORG = ["context", "groups", "org", "cohort_ids"]


def condition(selector: list[str], op: str, *values: str) -> dict[str, Any]:
    return {"selector": selector, "op": op, "values": values}


def flag(key: str, *segments: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "variants": {"on": {"key": "on"}}, "segments": segments}


def targeted(*segments: dict[str, Any]) -> set[Target]:
    return set(targets(decode_flag(msgspec.json.encode(flag("f", *segments)))))


@pytest.mark.parametrize("op", [ANY, NOT_ANY])
@pytest.mark.parametrize(
    ("selector", "group_type"),
    [
        (USER, "User"),
        (ORG, "org"),
        (["context", "groups", "org name", "cohort_ids"], "org name"),
        (["context", "groups", "", "cohort_ids"], ""),
        (["context", "groups", "User", "cohort_ids"], "User"),
    ],
)
def test_values_of_cohort_conditions_are_targets(
    op: str, selector: list[str], group_type: str
) -> None:
    assert targeted({"conditions": [[condition(selector, op, "c1", "c2")]]}) == {
        Target(group_type, "c1"),
        Target(group_type, "c2"),
    }


@pytest.mark.parametrize("op", ["is", "set contains", "set is", "set does not contain", "SET"])
@pytest.mark.parametrize("selector", [USER, ORG])
def test_other_operators_target_nothing(op: str, selector: list[str]) -> None:
    assert targeted({"conditions": [[condition(selector, op, "c1")]]}) == set()


@pytest.mark.parametrize(
    "selector",
    [
        [],
        ["cohort_ids"],
        ["user", "cohort_ids"],
        ["context", "user", "cohorts"],
        ["context", "user", "cohort_ids", "x"],
        ["context", "other", "cohort_ids"],
    ],
)
def test_other_selectors_target_nothing(selector: list[str]) -> None:
    assert targeted({"conditions": [[condition(selector, ANY, "c1")]]}) == set()


def test_words_that_name_no_cohort_are_no_targets() -> None:
    assert targeted({"conditions": [[condition(USER, ANY, "", "(none)", "c1")]]}) == {
        Target("User", "c1")
    }


def test_every_condition_of_every_segment_counts() -> None:
    assert targeted(
        {"variant": "on"},
        {"conditions": [], "variant": "on"},
        {
            "conditions": [
                [condition(["context", "user", "p"], "is", "x"), condition(USER, ANY, "a")],
                [condition(ORG, NOT_ANY, "b")],
            ]
        },
        {"conditions": [[condition(USER, ANY, "a", "c")]]},
    ) == {Target("User", "a"), Target("org", "b"), Target("User", "c")}


def test_a_deployment_knows_them_by_flag_and_all_together() -> None:
    flags = [
        flag("plain", {"variant": "on"}),
        flag("users", {"conditions": [[condition(USER, ANY, "a")]]}),
        flag("orgs", {"conditions": [[condition(ORG, ANY, "a", "b")]]}),
    ]

    deployment = compile_deployment(msgspec.json.encode(flags))

    assert deployment.cohorts == {
        "users": {Target("User", "a")},
        "orgs": {Target("org", "a"), Target("org", "b")},
    }
    assert deployment.targets == {*deployment.cohorts["users"], *deployment.cohorts["orgs"]}
    assert deployment.targeted_types == {"User", "org"}
    fewer = compile_deployment(msgspec.json.encode(flags[:2]), deployment)
    assert fewer.targets == {Target("User", "a")}
    nothing = compile_deployment(b"[]", deployment)
    assert not nothing.cohorts
    assert not nothing.targets
    assert not nothing.targeted_types


@given(st.lists(st.text(max_size=3), max_size=5), st.sampled_from([ANY, NOT_ANY, "is"]))
def test_any_selector_has_an_answer(selector: list[str], op: str) -> None:
    found = targeted({"conditions": [[condition([*selector, "cohort_ids"], op, "c1")]]})

    assert len(found) <= 1
