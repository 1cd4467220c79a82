"""Conditions and names as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.wording import MOST_VALUES, condition_text, name_text, selector_text
from proxy.evaluation.model import Condition


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (["context", "user", "user_id"], "user_id"),
        (["context", "user", "user_properties", "plan"], "user_properties.plan"),
        (["context", "user"], "user"),
        (["context", "groups", "org", "group_name"], "group.org.group_name"),
        (["result", "parent", "key"], "variant of flag parent"),
        (["result", "parent", "metadata", "note"], "metadata.note of flag parent"),
        (["result"], "result"),
        ([], "(nothing)"),
    ],
)
def test_a_selector_is_named_without_the_roots_that_all_have(
    selector: list[str], text: str
) -> None:
    assert selector_text(selector) == text


def asked(selector: list[str], op: str, *values: str) -> str:
    return condition_text(Condition(selector=tuple(selector), op=op, values=values))


def test_a_condition_is_a_short_sentence() -> None:
    plan = ["context", "user", "user_properties", "plan"]
    assert asked(plan, "is", "gold") == "user_properties.plan is gold"
    assert asked(plan, "is not", "gold", "") == "user_properties.plan is not gold, “”"
    assert asked(plan, "is") == "user_properties.plan is (nothing)"
    version = ["context", "user", "version"]
    assert asked(version, "version greater or equal", "2.10") == "version is at least version 2.10"
    assert asked(plan, "regex match", "a.*") == "user_properties.plan matches a.*"
    assert asked(plan, "unheard of", "x") == "user_properties.plan unheard of x"
    of_user = ["context", "user", "cohort_ids"]
    assert asked(of_user, "set contains any", "c1", "c2") == (
        "user is in any of the cohorts c1, c2"
    )
    of_group = ["context", "groups", "org", "cohort_ids"]
    assert asked(of_group, "set does not contain any", "g") == (
        "group.org is in none of the cohorts g"
    )
    many = [str(number) for number in range(MOST_VALUES + 3)]
    assert asked(plan, "is", *many).endswith("8, 9 and 3 more")


texts = st.text(max_size=300)


@given(st.lists(texts, max_size=6), texts, st.lists(texts, max_size=40))
def test_whatever_a_condition_holds_its_text_is_short_and_printable(
    selector: list[str], op: str, values: list[str]
) -> None:
    text = asked(selector, op, *values)
    assert len(text) < 1000
    assert text.isprintable()


@given(texts)
def test_a_name_that_can_be_shown_is_shown(name: str) -> None:
    shown = name_text(name, 50)
    assert len(shown) <= 50
    if name.isprintable() and len(name) <= 50:
        assert shown == name
