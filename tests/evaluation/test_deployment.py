"""A deployment is made from a body and from what was in force before."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import workload
from proxy.evaluation.deployment import (
    CompiledDeployment,
    answer,
    compile_deployment,
    compile_in_steps,
)
from proxy.evaluation.users import parse_user
from tests.evaluation import strategies
from tests.evaluation.strategies import as_json

Json = dict[str, Any]


def flag(key: str, *dependencies: str, variant: str = "on", **members: Any) -> Json:
    variants = {name: {"key": name, "value": name} for name in ("on", "off")}
    segments = [{"variant": variant, "metadata": {"segmentName": "All Other Users"}}]
    made = {"key": key, "variants": variants, "segments": segments, "dependencies": dependencies}
    return made | members


def compiled(*flags: Any, previous: CompiledDeployment | None = None) -> CompiledDeployment:
    return compile_deployment(msgspec.json.encode(flags), previous)


def given_variants(deployment: CompiledDeployment, *keys: str, **user: Any) -> dict[str, str]:
    return {found.flag_key: found.variant_key for found in deployment.evaluate(user, keys)}


def problems(deployment: CompiledDeployment) -> list[tuple[str, bool]]:
    return [(problem.flag_key, problem.kept) for problem in deployment.problems]


BROKEN: Json = {"key": "b", "variants": {}}


def test_no_flags_give_an_empty_object() -> None:
    deployment = compiled()

    assert answer(deployment.evaluate({"user_id": "u"})) == b"{}"
    assert deployment.evaluate({}, ["a"]) == []
    assert deployment.body == b"[]"
    assert not deployment.flags


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b'[{"key":"a"', b"\xff", b"[1]x"])
def test_what_is_no_array_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_deployment(body)


def test_the_body_is_served_as_it_came() -> None:
    body = b" [ %b ,\n %b ]\n" % (as_json(flag("b", note=1e3)), as_json(flag("a")))

    deployment = compile_deployment(body)

    assert deployment.body == body
    assert list(deployment.flags) == list(deployment.raw_flags) == ["b", "a"]
    assert deployment.raw_flags["a"] == as_json(flag("a"))


def test_the_version_tells_bodies_apart() -> None:
    first, again, other = compiled(flag("a")), compiled(flag("a")), compiled(flag("b"))

    assert first.version == again.version != other.version
    assert len(first.version) == 12
    assert int(first.version, 16) >= 0


def test_a_broken_flag_is_left_out_and_named() -> None:
    deployment = compiled(flag("a"), BROKEN, 5, flag("c"))

    assert problems(deployment) == [("b", False), ("(flag 2 of the array)", False)]
    assert all(problem.reason for problem in deployment.problems)
    assert given_variants(deployment) == {"a": "on", "c": "on"}
    assert deployment.body == b"[%b,%b]" % tuple(deployment.raw_flags.values())
    assert [read["key"] for read in msgspec.json.decode(deployment.body)] == ["a", "c"]


def test_a_broken_flag_keeps_its_last_good_version() -> None:
    deployment = compiled(flag("a"), flag("b", variant="off"), flag("c"))
    for _ in range(2):
        deployment = compiled(BROKEN, flag("a", variant="off"), previous=deployment)

        assert problems(deployment) == [("b", True)]
        assert given_variants(deployment) == {"b": "off", "a": "off"}
        assert [read["key"] for read in msgspec.json.decode(deployment.body)] == ["b", "a"]

    assert problems(compiled(flag("b"), previous=deployment)) == []


def test_flags_that_are_all_broken_leave_nothing_in_force() -> None:
    deployment = compiled(BROKEN, None)

    assert not deployment.flags
    assert len(deployment.problems) == 2
    assert deployment.body == b"[]"


def test_a_later_definition_replaces_an_earlier_one_in_its_place() -> None:
    deployment = compiled(flag("a", variant="off"), flag("b"), flag("a"))

    assert list(deployment.flags) == ["a", "b"]
    assert given_variants(deployment) == {"a": "on", "b": "on"}
    assert not deployment.problems


def test_a_broken_second_definition_leaves_the_first_in_force() -> None:
    deployment = compiled(flag("b", variant="off"), BROKEN)

    assert problems(deployment) == [("b", True)]
    assert given_variants(deployment) == {"b": "off"}


def test_a_cycle_leaves_out_those_on_it_and_behind_it() -> None:
    deployment = compiled(
        flag("behind", "a"), flag("a", "b"), flag("b", "a"), flag("self", "self"), flag("free")
    )

    assert problems(deployment) == [(key, False) for key in ("behind", "a", "b", "self")]
    assert given_variants(deployment) == {"free": "on"}
    assert given_variants(deployment, "behind", "free") == {"free": "on"}
    assert list(msgspec.json.decode(deployment.body)) == [flag("free") | {"dependencies": []}]


def test_a_cycle_takes_out_what_was_in_force() -> None:
    before = compiled(flag("a"), flag("b", "a"))

    deployment = compiled(flag("a", "b"), flag("b", "a"), previous=before)

    assert problems(deployment) == [("a", False), ("b", False)]


def test_dependencies_are_given_first_and_with_those_who_need_them() -> None:
    deployment = compiled(flag("a", "c", "ghost"), flag("b"), flag("c"))

    assert list(given_variants(deployment)) == ["c", "a", "b"]
    assert list(given_variants(deployment, "b", "a", "a", "unknown")) == ["b", "c", "a"]


def test_a_flag_that_was_not_asked_for_is_null_to_conditions() -> None:
    test = {"selector": ["result", "a", "key"], "op": "is", "values": ["(none)"]}
    reading = flag("b", segments=[{"variant": "off", "conditions": [[test]]}, {"variant": "on"}])
    deployment = compiled(flag("a"), reading)

    assert given_variants(deployment) == {"a": "on", "b": "on"}
    assert given_variants(deployment, "b") == {"b": "off"}
    assert given_variants(deployment, "a", "b") == {"a": "on", "b": "on"}
    assert given_variants(deployment, "b", "a") == {"b": "off", "a": "on"}


def test_what_did_not_change_is_taken_over() -> None:
    flags = workload.flags(200)
    before = compiled(*flags)
    flags[100] = flags[100] | {"metadata": {"flagVersion": 99}}

    deployment = compiled(*flags, previous=before)

    assert sum(unit is before.units[key] for key, unit in deployment.units.items()) == 199
    assert len(set(deployment.chunks) & set(before.chunks)) == len(before.chunks) - 1


def test_work_is_done_in_many_steps() -> None:
    flags = workload.flags(120)
    steps = compile_in_steps(msgspec.json.encode(flags))
    taken = 0
    deployment = None
    while deployment is None:
        try:
            next(steps)
            taken += 1
        except StopIteration as end:
            deployment = end.value

    assert taken > len(flags) + len(deployment.chunks)
    assert len(deployment.flags) == 120


# Patterns


def matching(key: str, *patterns: str, op: str = "regex match") -> Json:
    test = {"selector": ["context", "user", "p"], "op": op, "values": patterns}
    return flag(key, segments=[{"variant": "on", "conditions": [[test]]}, {"variant": "off"}])


def test_flags_with_one_pattern_share_it() -> None:
    before = compiled(matching("a", "x+", "y"))
    deployment = compiled(matching("b", "y"), matching("c", "x+"), previous=before)

    shared = before.units["a"].patterns.compiled
    assert deployment.units["b"].patterns.compiled["y"] is shared["y"]
    assert deployment.units["c"].patterns.compiled["x+"] is shared["x+"]


def test_a_pattern_that_runs_out_of_time_is_no_match_and_names_its_flag() -> None:
    early: list[str] = []
    late: list[str] = []
    flags = msgspec.json.encode([matching("a", "x+y"), matching("b", "x+y"), flag("c")])
    before = compile_deployment(flags, on_regex_timeout=early.append)
    endless = {"p": "x" * 100_000}

    found = {one.flag_key: one.variant_key for one in before.evaluate(endless, ["b"])}
    assert found == {"b": "off"}
    assert early == ["a", "b"]  # both are in the chunk that answers

    after = compile_deployment(flags, before, on_regex_timeout=late.append)
    assert given_variants(after, p="x" * 100_000) == {"a": "off", "b": "off", "c": "on"}
    assert late == ["a", "b"]


def test_a_flag_too_heavy_for_source_is_named_too() -> None:
    named: list[str] = []
    heavy = matching("a", "x+y")
    never = {"selector": ["context", "user", "q"], "op": "is", "values": ["z"]}
    heavy["segments"].append({"conditions": [[never] * 400], "variant": "on"})
    deployment = compile_deployment(msgspec.json.encode([heavy]), on_regex_timeout=named.append)

    assert given_variants(deployment, p="xxy") == {"a": "on"}
    assert given_variants(deployment, p="x" * 100_000) == {"a": "off"}
    assert named == ["a"]


def test_a_pattern_that_does_not_compile_matches_nothing_and_is_named() -> None:
    deployment = compiled(matching("a", "["), matching("b", "[", op="regex does not match"))

    assert given_variants(deployment, p="[") == {"a": "off", "b": "on"}
    assert [one.flag_key for one in deployment.broken_patterns] == ["a", "b"]
    assert not deployment.problems


def test_timeouts_that_nobody_wants_to_know_of_are_ignored() -> None:
    deployment = compiled(matching("a", "x+y"))

    assert given_variants(deployment, p="x" * 100_000) == {"a": "off"}


# Users


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(strategies.FIELDS) | st.text(max_size=3), inner, max_size=3
        )
    ),
    max_leaves=8,
)
any_user = st.dictionaries(
    st.sampled_from(("user_id", "country", "version", "platform", "user_properties", "cohort_ids"))
    | st.sampled_from(("groups", "group_properties", "group_cohort_ids", "language"))
    | st.text(max_size=3),
    any_json,
    max_size=6,
)
EVERYDAY = compile_deployment(workload.flags_json(30))


@given(any_user)
@settings(deadline=None)
def test_every_user_is_answered(user: Json) -> None:
    parsed = parse_user(as_json(user))

    read = msgspec.json.decode(answer(EVERYDAY.evaluate(parsed)))

    assert list(read) == list(EVERYDAY.flags)
