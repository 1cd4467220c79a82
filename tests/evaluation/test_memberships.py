"""Memberships answer every condition as the list would that they stand for."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.compiler_units import HEAVY
from proxy.evaluation.deployment import CompiledDeployment, compile_deployment
from proxy.evaluation.interpreter import interpret, interpret_with_trace
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.operators import SET_OPERATORS, TEXT_OPERATORS
from proxy.evaluation.partial import partially_evaluate
from proxy.evaluation.results import result_json
from proxy.evaluation.text import text
from tests.evaluation.engines import match
from tests.evaluation.strategies import as_json

Json = dict[str, Any]

OF_USER = ["context", "user", "cohort_ids"]
OF_GROUP = ["context", "groups", "org", "cohort_ids"]
SELECTORS = (
    *(OF_USER, OF_USER, OF_GROUP, OF_GROUP, ["context", "groups", "team", "cohort_ids"]),
    *(["context"], ["context", "user"], ["context", "groups"], ["context", "groups", "org"]),
    *([*OF_USER, "c1"], [*OF_GROUP, "c1"], ["context", "user", "group_cohort_ids"]),
)
IDS = ("c1", "c2", "C2", "", "(none)", "true", "True", "FAL\u017fE", "false", "[c1]", "1", "10")
ids = st.lists(st.sampled_from(IDS), max_size=4, unique=True)


class Cohorts:
    """Cohorts that hold one member; remembers which were looked up."""

    def __init__(self, *held: str, known: tuple[str, ...] = IDS) -> None:
        self.held = held
        self.known = known
        self.asked: list[str] = []
        self.listings = 0

    def holds(self, cohort_id: str) -> bool:
        self.asked.append(cohort_id)
        return cohort_id in self.held

    def ids(self) -> tuple[str, ...]:
        self.listings += 1
        return self.known

    def memberships(self, *claimed: str) -> Memberships:
        return Memberships(self.holds, self.ids, claimed)


def flag(key: str, *alternatives: list[Json], bucket: Json | None = None) -> Json:
    return {
        "key": key,
        "variants": {name: {"key": name, "value": name} for name in ("on", "off")},
        "segments": [
            {"conditions": alternatives, "variant": "on", "bucket": bucket},
            {"variant": "off"},
        ],
    }


def condition(selector: list[str], op: str, *values: str) -> Json:
    return {"selector": selector, "op": op, "values": values}


def of_plain(claimed: list[str], held: list[str]) -> list[str]:
    return [*claimed, *sorted(set(held) - set(claimed))]


def said(deployment: CompiledDeployment, user: Json) -> list[tuple[str, int, bytes]]:
    return [(o.flag_key, o.segment_index, o.result) for o in deployment.evaluate(user)]


def interpreted(deployment: CompiledDeployment, user: Json) -> list[tuple[str, int, bytes]]:
    results = interpret(deployment.flags, user, match=match)
    return [(key, found.segment_index, result_json(found)) for key, found in results.items()]


conditions = st.builds(
    lambda selector, op, values: condition(selector, op, *values),
    st.sampled_from(SELECTORS),
    st.one_of(
        st.sampled_from(("set contains any", "set does not contain any")),
        st.sampled_from(sorted(SET_OPERATORS | TEXT_OPERATORS)),
    ),
    ids,
)
buckets = st.builds(
    lambda selector: {
        "selector": selector,
        "salt": "s",
        "allocations": [
            {"range": [0, 100], "distributions": [{"variant": "on", "range": [0, 21474837]}]}
        ],
    },
    st.sampled_from(SELECTORS),
)
flags = st.lists(
    st.builds(
        lambda tests, bucket: flag("f", *tests, bucket=bucket),
        st.lists(st.lists(conditions, max_size=2), max_size=2),
        st.one_of(st.none(), buckets),
    ),
    max_size=4,
).map(lambda found: [{**one, "key": f"f{place}"} for place, one in enumerate(found)])


@st.composite
def users(draw: st.DrawFn) -> tuple[Callable[[], Json], Json]:
    """One user twice: with memberships, made anew each time, and with the lists they stand for."""
    held, claimed, of_org, claimed_org = (draw(ids) for _ in range(4))
    has_ids, has_org = draw(st.booleans()), draw(st.booleans())

    def user(of_user: Any, of_group: Any) -> Json:
        made: Json = {"p": "x", "groups": {"org": ["acme", "other"], "team": ["red"]}}
        if has_ids:
            made["cohort_ids"] = of_user
        if has_org:
            made["group_cohort_ids"] = {"org": {"acme": of_group}}
        return made

    def lazy() -> Json:
        return user(
            Cohorts(*held).memberships(*claimed), Cohorts(*of_org).memberships(*claimed_org)
        )

    return lazy, user(of_plain(claimed, held), of_plain(claimed_org, of_org))


@given(flags, users())
def test_memberships_are_as_good_as_their_list(
    flags: list[Json], user: tuple[Callable[[], Json], Json]
) -> None:
    lazy, plain = user
    deployment = compile_deployment(as_json(flags))
    expected = interpreted(deployment, plain)

    assert said(deployment, plain) == expected
    assert said(deployment, lazy()) == expected
    assert interpreted(deployment, lazy()) == expected


VALUES: tuple[tuple[str, ...], ...] = (
    *((), ("c1",), ("c1", "c2"), ("(none)",), ("c1", "(none)"), ("true",), ("FALSE", "c1")),
    *(("(none)", "True"), ("", "C2"), ("c1", "c2", "1"), ("[c1]",)),
)
HELD: tuple[tuple[str, ...], ...] = (
    *((), ("c1",), ("c1", "c2"), ("(none)",), ("true",), ("fal\u017fE", "c2"), ("",)),
    *(("1", "10"), ("[c1]", "c1"), ("C2", "c3")),
)
EVERY = compile_deployment(
    as_json(
        [
            flag(f"{selector[1]} {op} {values}", [condition(selector, op, *values)])
            for selector in (OF_USER, OF_GROUP)
            for op in sorted(SET_OPERATORS | TEXT_OPERATORS)
            for values in VALUES
        ]
    )
)


@pytest.mark.parametrize("held", HELD, ids=str)
@pytest.mark.parametrize("claimed", [(), ("c2",)], ids=["known", "claimed"])
def test_every_operator_sees_the_list(held: tuple[str, ...], claimed: tuple[str, ...]) -> None:
    def user(of_user: Any, of_group: Any) -> Json:
        of_groups = {"org": {"acme": of_group}}
        return {
            "groups": {"org": ["acme"]},
            "cohort_ids": of_user,
            "group_cohort_ids": of_groups,
        }

    def lazy() -> Json:
        return user(*(Cohorts(*held, known=held).memberships(*claimed) for _ in range(2)))

    listed = of_plain([*claimed], [*held])
    plain = user(listed, listed)
    expected = interpreted(EVERY, plain)

    assert said(EVERY, plain) == said(EVERY, lazy()) == expected
    slow = [unit.slow(lazy(), {}) for unit in EVERY.units.values()]
    assert [(o.flag_key, o.segment_index, o.result) for o in slow if o] == expected


@given(flags, users())
def test_traces_and_partial_evaluation_show_the_list(
    flags: list[Json], user: tuple[Callable[[], Json], Json]
) -> None:
    lazy, plain = user
    found = compile_deployment(as_json(flags)).flags

    _, traces = interpret_with_trace(found, lazy(), match=match)
    assert traces == interpret_with_trace(found, plain, match=match)[1]
    assert msgspec.json.encode(partially_evaluate(found, lazy(), match=match)) == (
        msgspec.json.encode(partially_evaluate(found, plain, match=match))
    )


@pytest.mark.parametrize("selector", [OF_USER, OF_GROUP], ids=["user", "group"])
@pytest.mark.parametrize("heavy", [False, True])
def test_a_condition_looks_up_what_it_names_and_each_cohort_once(
    selector: list[str], *, heavy: bool
) -> None:
    flags = [
        flag("a", [condition(selector, "set contains any", "c1", "c2")]),
        flag("b", [condition(selector, "set does not contain any", "c2", "c3")]),
        flag("c", [condition(selector, "set contains any", "c1")]),
        flag("d", [condition(["context", "user", "p"], "is", "x")]),
        flag(
            "e",
            [
                condition(["context", "user", "p"], "is", "y"),
                condition(selector, "set contains any", "c9"),
            ],
        ),
    ]
    if heavy:
        for one in flags:
            one["segments"].append({"conditions": [[condition(["p"], "unknown")] * HEAVY]})
    cohorts = Cohorts("c2", known=("c1", "c2", "c3", "c4", "c5"))
    user: Json = {"p": "x", "groups": {"org": ["acme"]}}
    if selector == OF_USER:
        user["cohort_ids"] = cohorts.memberships()
    else:
        user["group_cohort_ids"] = {"org": {"acme": cohorts.memberships()}}

    outcomes = compile_deployment(as_json(flags)).evaluate(user)

    given = {outcome.flag_key: outcome.variant_key for outcome in outcomes}
    assert given == {"a": "on", "b": "off", "c": "off", "d": "on", "e": "off"}
    assert cohorts.asked == ["c1", "c2"]
    assert cohorts.listings == 0


def test_any_of_stops_at_the_first_that_holds() -> None:
    cohorts = Cohorts("c2")
    memberships = cohorts.memberships("mine")

    assert memberships.any_of(["c1", "c2", "c3"])
    assert memberships.any_of(["c1", "mine", "c4"])
    assert not memberships.any_of(["c1"])
    assert not memberships.any_of([])
    assert cohorts.asked == ["c1", "c2"]


def test_claimed_cohorts_come_first_and_need_not_be_known() -> None:
    memberships = Cohorts("b", "a", known=("b", "c", "a", "b")).memberships("z", "b", "z")

    assert memberships.listed() == memberships.selected() == ["z", "b", "a"]
    assert memberships.joined(["c", "b"]).listed() == ["z", "b", "c", "a"]
    assert text(memberships) == '["z","b","a"]'


def test_nothing_is_an_empty_list_of_a_user_and_null_of_a_group() -> None:
    of_user = Cohorts().memberships()
    of_group = of_user.of_group()

    assert (of_user.listed(), of_user.selected(), text(of_user)) == ([], [], "[]")
    assert (of_group.listed(), of_group.selected(), text(of_group)) == ([], None, None)
    assert of_group.of_group() is of_group
    assert of_group.any_of_or_null(["c1"])
    assert not of_user.any_of_or_null(["c1"])
    assert text({"a": of_user, "b": of_group, "c": 1}) == '{"a":[],"c":1}'
