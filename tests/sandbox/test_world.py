"""The flag file as a whole: groups, holdouts, cohorts, raw flags, mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.reading import FileMistake
from proxy.sandbox.world import World, read_world

DEMO = Path(__file__).parent.parent.parent / "config" / "sandbox.yaml"


def flags(world: World) -> dict[str, dict[str, Any]]:
    return {flag["key"]: flag for flag in json.loads(world.flags)}


def test_an_empty_file_serves_no_flags() -> None:
    world = read_world("")

    assert (world.flags, world.flag_keys, world.cohorts) == (b"[]", (), {})


def test_a_mutual_exclusion_group_gives_each_experiment_a_slot() -> None:
    served = flags(
        read_world(
            """
flags: {a: {type: experiment}, b: {type: experiment}}
exclusion_groups: {page: {slots: {a: 30%, b: 50%}, by: device_id, salt: s}}
"""
        )
    )

    group = served["mutex-page"]
    assert group["metadata"]["flagType"] == "mutual-exclusion-group"
    assert group["metadata"]["deployed"] is False
    assert list(group["variants"]) == ["slot-1", "slot-2", "unallocated", "off"]
    bucket = group["segments"][0]["bucket"]
    assert (bucket["salt"], bucket["selector"]) == ("s", ["context", "user", "device_id"])
    assert [part["range"] for part in bucket["allocations"][0]["distributions"]] == [
        [0, 12884901],
        [12884900, 34359738],
        [34359737, 42949673],
    ]
    assert served["b"]["dependencies"] == ["mutex-page"]
    assert served["b"]["segments"][0]["conditions"] == [
        [{"selector": ["result", "mutex-page", "key"], "op": "is not", "values": ["slot-2"]}]
    ]


def test_a_holdout_keeps_its_users_from_all_its_experiments() -> None:
    served = flags(read_world("flags: {a: , b: }\nholdouts: {q: {hold_back: 5%, flags: [a, b]}}\n"))

    assert served["holdout-q"]["metadata"]["flagType"] == "holdout-group"
    assert list(served["holdout-q"]["variants"]) == ["holdout", "on", "off"]
    for key in ("a", "b"):
        assert served[key]["dependencies"] == ["holdout-q"]
        assert served[key]["segments"][0]["conditions"][0][0]["values"] == ["on"]


def test_cohorts_are_lists_of_users_or_of_a_groups_names() -> None:
    world = read_world("cohorts: {a: [x, y, x, 7], b: {group: org, members: [acme]}}", now=2.0)

    assert (world.cohorts["a"].group_type, world.cohorts["a"].member_ids) == (
        "User",
        ("x", "y", "7"),
    )
    assert world.cohorts["a"].size == 3
    assert (world.cohorts["b"].group_type, world.cohorts["b"].last_modified) == ("org", 2000)


def test_a_cohort_keeps_its_date_while_its_members_stay() -> None:
    before = read_world("cohorts: {a: [x], b: [y]}", now=1.0)

    after = read_world("cohorts: {a: [x], b: [y, z]}", before, now=2.0)

    assert after.cohorts["a"].last_modified == 1000
    assert after.cohorts["b"].last_modified == 2000


def test_raw_flags_are_served_as_they_stand() -> None:
    raw = {"key": "r", "segments": [], "variants": {}, "note": [1, {"x": None}]}

    world = read_world(f"raw_flags: [{json.dumps(raw)}]")

    assert flags(world) == {"r": raw}


def test_the_demo_file_shows_every_kind() -> None:
    world = read_world(DEMO.read_text())

    kinds = {flag["metadata"]["flagType"] for flag in flags(world).values()}
    assert kinds == {"release", "experiment", "mutual-exclusion-group", "holdout-group"}
    assert {"beta-testers", "big-customers"} == set(world.cohorts)
    conditions = json.dumps(flags(world)["beta-search"]["segments"])
    assert '"regex match"' in conditions
    assert '"version greater or equal"' in conditions


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("flag: {}\n", 1, "the file has no setting 'flag'"),
        ("flags:\n  a:\n    serve: onn\n", 3, "there is no variant 'onn'"),
        ("flags: [a]\n", 1, "flags must be a map"),
        (
            "flags:\n  a:\nraw_flags:\n  - {key: a, segments: [], variants: {}}\n",
            4,
            "there are two flags with the key 'a'",
        ),
        ("raw_flags:\n  - key: a\n", 2, "this flag would be refused"),
        ("raw_flags:\n  - a\n", 2, "this flag would be refused"),
        ("flags: {a: }\n\nexclusion_groups:\n  g: {slots: {b: 10%}}\n", 4, "names the flag 'b'"),
        (
            (
                "flags: {a: }\nholdouts: {h: {hold_back: 1, flags: b}}\n"
                "exclusion_groups: {g: {slots: {a: 1}}}\n"
            ),
            2,
            "names the flag 'b'",
        ),
        ("exclusion_groups:\n  g: {}\n", 2, "a group needs `slots`"),
        (
            "flags: {a: , b: }\nexclusion_groups:\n  g:\n    slots: {a: 60%, b: 50%}\n",
            3,
            "more than 100%",
        ),
        ("holdouts:\n  h: {hold_back: most}\n", 2, "whole percents"),
        ("holdouts:\n  h: {}\n", 2, "a holdout needs `hold_back`"),
    ],
)
def test_a_mistake_says_its_line_and_what_is_wrong(text: str, line: int, reason: str) -> None:
    with pytest.raises(FileMistake) as caught:
        read_world(text)

    assert reason in caught.value.reason
    assert caught.value.line == line
