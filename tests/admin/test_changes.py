"""What differs between flag configs."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admin.changes import LONGEST_KEY, LONGEST_TEXT, MOST_TEXTS, Change, changes
from proxy.admin.shares import MOST_RANGES
from proxy.evaluation.decode import DEEPEST, decode_flag
from proxy.evaluation.model import Flag
from tests.builders import condition, flag, segment
from tests.evaluation.strategies import as_json, flags

ALL = [0, 42949673]
PLAN = ["context", "user", "user_properties", "plan"]


def read(*written: dict[str, Any]) -> Mapping[str, Flag]:
    return {one["key"]: decode_flag(as_json(one)) for one in written}


def between(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """What is said to have changed in a flag."""
    (change,) = changes(read(old), read(new))
    assert change.kind == "changed"
    return change.what


def rollout(
    percent: int, *, otherwise: str | None = "off", salt: str = "s", by: str = "device_id"
) -> dict[str, Any]:
    dealt = [{"variant": "on", "range": ALL}]
    bucket = {
        "selector": ["context", "user", by],
        "salt": salt,
        "allocations": [{"range": [0, percent], "distributions": dealt}],
    }
    return {"bucket": bucket, "variant": otherwise, "metadata": {"segmentName": "Beta"}}


def test_flags_come_go_and_change() -> None:
    old = read(flag("stays"), flag("goes", segment("off")), flag("moves"))
    new = read(flag("moves", segment("off"), flagVersion=2), flag("stays"), flag("comes"))

    assert list(changes(old, new)) == [
        Change(
            "moves",
            "changed",
            1,
            2,
            (
                "turned off",
                "segment added: “segment 1”",
                "segment removed: “All Other Users”",
            ),
        ),
        Change("comes", "added", None, 1, ("on",)),
        Change("goes", "removed", 1, None, ("off",)),
    ]


BETA = flag("f", rollout(10))


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (flag("f", rollout(50)), "segment “Beta”: on 10 % → 50 %, off 90 % → 50 %"),
        (flag("f", rollout(10, otherwise=None)), "segment “Beta”: off 90 % → 0 %"),
        (flag("f", rollout(10, salt="t")), "segment “Beta”: new salt, so users are dealt anew"),
        (flag("f", rollout(10, by="user_id")), "segment “Beta”: bucketed by device_id → user_id"),
        (flag("f", rollout(10), flagVersion=2), "a new version; nothing else changed"),
        (flag("f", rollout(10), flagType="release"), "type: none → release"),
        (flag("f", rollout(10), note=1), "metadata “note” changed"),
        (flag("f", rollout(10), deployed=False), "not deployed any more"),
        (flag("f", rollout(10), dependencies=["a", "b"]), "dependencies: +a +b"),
        (flag("f", rollout(10), payload={"a": 1}), "payload of variant “on” changed"),
        (
            flag("f", {**rollout(10), "conditions": [[condition(PLAN, "is", "gold")]]}),
            "conditions of segment “Beta” changed: now user_properties.plan is gold",
        ),
        (flag("f", {**rollout(10), "conditions": []}), "turned off"),
        (flag("f", rollout(0)), "turned off"),
        (flag("f", segment("on", segmentName="VIP"), rollout(10)), "segment added: “VIP”"),
        (
            {**BETA, "variants": {"on": BETA["variants"]["on"], "blue": {"key": "blue"}}},
            "variants: +blue \N{MINUS SIGN}off",
        ),
    ],
)
def test_a_change_is_told_in_words(new: dict[str, Any], what: str) -> None:
    assert what in between(BETA, new)


def test_what_changes_in_little_known_ways_is_told_too() -> None:
    first, second = segment("on", segmentName="A"), segment("off", segmentName="B")
    assert between(flag("f", first, second), flag("f", second, first)) == (
        "order of segments changed",
    )
    one, two = flag("f", dependencies=["a", "b"]), flag("f", dependencies=["b", "a"])
    assert between(one, two) == ("order of dependencies changed",)
    one, two = flag("f", segment("on", n=1)), flag("f", segment("on", n=2))
    assert between(one, two) == ("metadata of segment “segment 1” changed",)
    one, two = flag("f", flagVersion="a"), flag("f", flagVersion="b")
    assert between(one, two) == ("metadata “flagVersion” changed",)
    # The same share, for others.
    one, two = flag("f", rollout(10)), flag("f", rollout(10))
    two["segments"][0]["bucket"]["allocations"][0]["range"] = [20, 30]
    assert between(one, two) == ("segment “Beta”: who gets what changed",)
    # Too many ranges to say how the shares changed.
    one, two = flag("f", rollout(10)), flag("f", rollout(20))
    for crowded in (one, two):
        (allocation,) = crowded["segments"][0]["bucket"]["allocations"]
        allocation["distributions"] *= MOST_RANGES + 1
    assert between(one, two) == ("segment “Beta”: who gets what changed",)
    # Two segments of one name are told apart by their place.
    one, two = flag("f", first, first), flag("f", first, {**first, "variant": "off"})
    assert between(one, two) == ("segment “A” (2): off 0 % → 100 %, on 100 % → 0 %",)


def spelt_otherwise(written: Any) -> Any:
    """The same JSON with its members, and what is a set, in another order."""
    if isinstance(written, dict):
        turned = {name: spelt_otherwise(written[name]) for name in reversed(written)}
        for name in ("values", "conditions"):
            if turned.get(name):
                turned[name] = [*reversed(turned[name]), turned[name][0]]
        return turned
    return [spelt_otherwise(one) for one in written] if isinstance(written, list) else written


def sense(written: dict[str, Any]) -> str:
    """What a flag config says, written in one way only: made from the JSON alone."""

    def text(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    def told(one: dict[str, Any]) -> dict[str, Any]:
        # Distinct conditions hold in any order.
        groups = one["conditions"]
        if groups is not None:
            each = [
                sorted({text({**c, "values": sorted(set(c["values"]))}) for c in inner})
                for inner in groups
            ]
            groups = sorted({text(inner) for inner in each})
        return {**one, "conditions": groups}

    def given(members: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in members.items() if value is not None}

    return text(
        {
            "variants": {key: given(one) for key, one in written["variants"].items()},
            "segments": [given(told(one)) for one in written["segments"]],
            "dependencies": list(dict.fromkeys(written["dependencies"] or ())),
            "metadata": written["metadata"] or {},
        }
    )


@settings(max_examples=settings().max_examples // 2)
@given(flags(), flags(), st.sets(st.sampled_from(("variants", "segments", "metadata"))))
def test_there_is_a_difference_just_when_the_meaning_differs(
    one: dict[str, Any], other: dict[str, Any], taken: set[str]
) -> None:
    mixed = spelt_otherwise(one) | {name: other[name] for name in taken}
    found = list(changes(read(one), read(mixed)))

    assert bool(found) is (sense(one) != sense(mixed))
    assert all(change.what for change in found)


def test_what_is_nested_as_deep_as_a_flag_may_be_is_compared() -> None:
    deep: Any = 1
    for _ in range(DEEPEST - 5):
        deep = {"a": deep}
    other = json.loads(json.dumps(deep).replace("1", "2"))

    assert between(flag("f", payload=deep), flag("f", payload=other)) == (
        "payload of variant “on” changed",
    )
    assert between(flag("f", note=deep), flag("f", note=other)) == ("metadata “note” changed",)


hostile = st.text(min_size=1, max_size=20).map(lambda text: text * 500)


@settings(max_examples=max(20, settings().max_examples // 10))
@given(hostile, hostile, st.integers(1, 60))
def test_every_text_is_bounded_whatever_the_names_are(key: str, name: str, count: int) -> None:
    key, name = (text.encode("utf-8", "replace").decode() for text in (key, name))
    many = [segment("on", segmentName=f"{number}{name}") for number in range(count)]
    variants = {f"{number}{name}": {"key": name} for number in range(count)}
    old = flag(key, *many, dependencies=[name])
    new = flag(key, {**rollout(10), "metadata": {name: 1}}) | {"variants": variants}
    new["metadata"] = {name: 2}

    for change in (*changes(read(old), read(new)), *changes({}, read(old))):
        assert len(change.flag) <= LONGEST_KEY
        assert len(change.what) <= MOST_TEXTS + 1
        assert all(len(text) <= LONGEST_TEXT and text.isprintable() for text in change.what)
