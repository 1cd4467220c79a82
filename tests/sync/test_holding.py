from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.deployment import CompiledDeployment, compile_deployment
from proxy.sync.compiling import compile_meanwhile
from proxy.sync.holding import held_back, mixed
from tests.sync.arrivals import users
from tests.sync.rig import array, flag, targeting

KEYS = "abcdef"
COHORTS = ("c1", "c2", "c3")


def compiled(*flags: dict[str, Any]) -> CompiledDeployment:
    return compile_deployment(array(*flags))


def names(whole: CompiledDeployment, before: CompiledDeployment, *pending: str) -> set[str]:
    return set(held_back(whole, before, users(*pending)))


def test_a_flag_that_newly_targets_a_pending_cohort_waits() -> None:
    before = compiled(flag("a"), flag("b"))
    whole = compiled(targeting("a", "c1"), flag("b", "off"))

    assert held_back(whole, before, users("c1")) == {"a": users("c1")}
    assert [msgspec.json.decode(raw) for raw in mixed(whole, before, {"a": users("c1")})] == [
        flag("a"),
        flag("b", "off"),
    ]


def test_a_cohort_that_is_not_pending_holds_nothing_back() -> None:
    whole = compiled(targeting("a", "c1"))

    assert held_back(whole, compiled(), users("c2")) == {}
    assert held_back(whole, compiled(), users()) == {}


def test_a_flag_that_is_in_force_as_it_came_does_not_wait() -> None:
    before = compiled(targeting("a", "c1"))
    whole = compiled(targeting("a", "c1"), targeting("b", "c1"))

    assert names(whole, before, "c1") == {"b"}


def test_a_new_flag_that_waits_is_absent_meanwhile() -> None:
    before = compiled(flag("b"))
    whole = compiled(flag("b"), targeting("a", "c1"))

    assert mixed(whole, before, held_back(whole, before, users("c1"))) == [
        *before.raw_flags.values()
    ]


def test_flags_that_depend_on_one_another_switch_together() -> None:
    before = compiled(
        flag("holdout"),
        flag("a", dependencies=["holdout"]),
        flag("b", dependencies=["a"]),
        flag("z"),
    )
    whole = compiled(
        flag("holdout", "off"),
        targeting("a", "c1", dependencies=["holdout"]),
        flag("b", "off", dependencies=["a"]),
        flag("z", "off"),
    )

    assert names(whole, before, "c1") == {"holdout", "a", "b"}


def test_a_flag_that_went_stays_while_those_that_depended_on_it_wait() -> None:
    before = compiled(flag("a", dependencies=["gone"]), flag("gone"), flag("other"))
    whole = compiled(targeting("a", "c1"))
    waiting = held_back(whole, before, users("c1"))

    assert set(waiting) == {"a", "gone"}
    assert set(compile_deployment(_array(mixed(whole, before, waiting))).flags) == {"a", "gone"}


def test_of_a_first_body_the_flags_that_need_cohorts_are_named() -> None:
    whole = compiled(targeting("a", "c1", "c2"), flag("b"))

    assert held_back(whole, None, users("c2", "c3")) == {"a": users("c2")}


def test_what_cannot_be_used_is_still_told_while_flags_wait() -> None:
    before = compiled(flag("bad"), flag("b"))
    body = array({"key": "bad", "variants": 7}, flag("b", "off"), targeting("a", "c1"))
    whole = compile_deployment(body, before)

    now, waiting = compile_meanwhile(whole, before, users("c1"), lambda _: None)

    assert now is not None
    assert set(waiting) == {"a"}
    assert [one.flag_key for one in now.problems] == ["bad"]
    assert set(now.flags) == {"bad", "b"}


def _array(raws: list[bytes]) -> bytes:
    return b"[" + b",".join(raws) + b"]"


@st.composite
def flags(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Flags that depend on flags, on themselves, on none; some target cohorts."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    made = []
    for key in keys:
        needed = draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
        cohorts = draw(st.lists(st.sampled_from(COHORTS), max_size=2, unique=True))
        variant = draw(st.sampled_from(["on", "off"]))
        made.append(targeting(key, *cohorts, variant=variant, dependencies=needed))
    return made


@given(flags(), flags(), st.sets(st.sampled_from(COHORTS)))
def test_what_is_served_meanwhile_is_whole_in_each_part(
    old: list[dict[str, Any]], new: list[dict[str, Any]], pending: set[str]
) -> None:
    before = compile_deployment(array(*old))
    whole = compile_deployment(array(*new), before)

    now, waiting = compile_meanwhile(whole, before, users(*pending), lambda _: None)

    if now is None:
        now = before
    elif not waiting:
        assert now is whole
    served = now.raw_flags
    assert compile_deployment(_array(list(served.values()))).problems == ()
    for key in {*served, *whole.raw_flags, *before.raw_flags}:
        expected = before if key in waiting else whole
        assert served.get(key) == expected.raw_flags.get(key)
    for key, targets in whole.cohorts.items():
        if targets & users(*pending) and key not in waiting:
            assert whole.raw_flags[key] == before.raw_flags.get(key)
    for compiled_one in (before, whole):
        for key, one in compiled_one.flags.items():
            for needed in one.dependencies:
                changed = {
                    k for k in (key, needed) if before.raw_flags.get(k) != whole.raw_flags.get(k)
                }
                assert len({k in waiting for k in changed}) <= 1
