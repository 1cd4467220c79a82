"""Flags as people write them become flags as Amplitude serves them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sandbox.flags import BUCKETS, distributions, wire_flag
from proxy.sandbox.reading import FileMistake, read_yaml

OFF = {"key": "off", "metadata": {"default": True}}


def flag(text: str, needs: dict[str, list[str]] | None = None) -> dict[str, Any]:
    return wire_flag("f", read_yaml(text), needs or {})


def names(wire: dict[str, Any]) -> list[str]:
    return [segment["metadata"]["segmentName"] for segment in wire["segments"]]


def test_a_simple_flag_serves_everybody_without_a_bucket() -> None:
    assert flag("serve: on") == {
        "key": "f",
        "metadata": {
            "deployed": True,
            "evaluationMode": "local",
            "flagType": "release",
            "flagVersion": 1,
        },
        "segments": [{"metadata": {"segmentName": "All Other Users"}, "variant": "on"}],
        "variants": {"on": {"key": "on", "value": "on"}, "off": OFF},
    }


def test_a_rollout_is_an_allocation_of_that_many_percents() -> None:
    bucket = flag("rollout: 25%\nsalt: abc\nby: device_id")["segments"][0]["bucket"]

    assert bucket == {
        "selector": ["context", "user", "device_id"],
        "salt": "abc",
        "allocations": [
            {"range": [0, 25], "distributions": [{"variant": "on", "range": [0, BUCKETS]}]}
        ],
    }


def test_nobody_is_bucketed_at_zero_percent() -> None:
    assert flag("rollout: 0%")["segments"][0]["bucket"]["allocations"] == []


def test_an_experiment_has_its_key_and_divides_its_users_evenly() -> None:
    wire = flag("type: experiment\nexperiment: exp-7\nversion: 3\nmode: remote")

    assert wire["metadata"] == {
        "deployed": True,
        "evaluationMode": "remote",
        "flagType": "experiment",
        "flagVersion": 3,
        "experimentKey": "exp-7",
    }
    assert [
        (part["variant"], part["range"])
        for part in wire["segments"][0]["bucket"]["allocations"][0]["distributions"]
    ] == [("control", [0, 21474836]), ("treatment", [21474835, 42949673])]


def test_segments_come_in_the_order_in_which_amplitude_serves_them() -> None:
    wire = flag(
        """
        include: {on: [ada]}
        needs: {other: on}
        segments:
          - {name: Named, when: country is X}
          - {when: [[country is Y, city is Z], [plan is big]], serve: on}
        """,
        {"mutex-g": ["slot-2"]},
    )

    assert names(wire) == [
        "individual-inclusions",
        "flag-dependencies",
        "Named",
        "Segment 2",
        "All Other Users",
    ]
    assert wire["dependencies"] == ["other", "mutex-g"]
    gate = wire["segments"][1]
    assert gate["variant"] == "off"
    assert [
        (inner[0]["selector"], inner[0]["op"], inner[0]["values"]) for inner in gate["conditions"]
    ] == [
        (["result", "other", "key"], "is not", ["on"]),
        (["result", "mutex-g", "key"], "is not", ["slot-2"]),
    ]
    assert [len(inner) for inner in wire["segments"][3]["conditions"]] == [2, 1]


def test_others_get_nothing_when_a_flag_only_speaks_of_segments() -> None:
    wire = flag("segments: [{when: plan is big}]")

    rollouts = [
        [allocation["range"] for allocation in segment["bucket"]["allocations"]]
        for segment in wire["segments"]
    ]
    assert rollouts == [[[0, 100]], []]


def test_variants_have_values_and_payloads() -> None:
    wire = flag("variants: {a: , b: {value: bee, payload: {n: [1, true]}}, off: }\nserve: b")

    assert wire["variants"] == {
        "a": {"key": "a", "value": "a"},
        "b": {"key": "b", "value": "bee", "payload": {"n": [1, True]}},
        "off": OFF,
    }


@given(
    st.dictionaries(st.text(max_size=3), st.integers(0, 1000), min_size=1, max_size=6).filter(
        lambda shares: sum(shares.values()) > 0
    )
)
def test_every_bucket_has_a_variant_and_shares_are_kept(shares: dict[str, int]) -> None:
    parts = distributions(shares)

    reached = 0
    for part in parts:
        start, end = part["range"]
        assert start == max(reached - 1, 0)
        exact = shares[part["variant"]] * BUCKETS / sum(shares.values())
        assert abs((end - reached) - exact) <= 1
        reached = end
    assert reached == BUCKETS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: release", "flag 'f' has no setting 'kind'"),
        ("type: mutex", "type must be one of release, experiment"),
        ("mode: none", "mode must be one of local, remote"),
        ("version: new", "version must be a whole number"),
        ("serve: onn", "there is no variant 'onn'; the variants are on, off"),
        ("serve: on\nrollout: 5%", "`serve` gives all one variant"),
        ("variants: {off: }", "there must be a variant besides `off`"),
        ("variants: {a: {colour: red}}", "variant 'a' has no setting 'colour'"),
        ("weights: {b: 1}", "there is no variant 'b'"),
        ("weights: {on: some}", "a weight must be a whole number"),
        ("weights: {on: 0}", "the weights must not all be 0"),
        ("include: {b: [ada]}", "there is no variant 'b'"),
        ("segments: [{name: x}]", "a segment needs `when`"),
        ("segments: [{when: []}]", "`when` is empty"),
    ],
)
def test_a_mistake_in_a_flag_says_what_is_expected(text: str, reason: str) -> None:
    with pytest.raises(FileMistake) as caught:
        flag(text)

    assert reason in caught.value.reason
    assert caught.value.line >= 1
