from typing import Any

import msgspec
import pytest

from proxy import __version__
from proxy.events.assignment import assignment_event, told
from proxy.events.canonical import java_hash
from proxy.events.subject import Subject, group_names, id_text
from tests.events.builders import outcome

AT = 1_700_000_000_000
DETAILS = {"flagVersion": 3, "segmentName": "All Other Users"}


def event_of(
    *outcomes: Any,
    user_id: str | None = "user",
    device_id: str | None = "device",
    groups: dict[str, list[str]] | None = None,
    user_properties: bool = True,
) -> dict[str, Any]:
    body = assignment_event(
        Subject(user_id, device_id, groups or {}),
        [told(one) for one in sorted(outcomes, key=lambda one: one.flag_key)],
        AT,
        user_properties=user_properties,
    )
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


def test_an_event_is_the_official_one() -> None:
    event = event_of(
        outcome("flag-key-2", "off", default=True, flagVersion=1, segmentName="All Other Users"),
        outcome("flag-key-1", "on", **DETAILS),
        groups={"org name": ["Amplitude"]},
    )

    assert event == {
        "event_type": "[Experiment] Assignment",
        "user_id": "user",
        "device_id": "device",
        "event_properties": {
            "flag-key-1.variant": "on",
            "flag-key-1.details": "v3 rule:All Other Users",
            "flag-key-2.variant": "off",
            "flag-key-2.details": "v1 rule:All Other Users",
        },
        "user_properties": {
            "$set": {"[Experiment] flag-key-1": "on"},
            "$unset": {"[Experiment] flag-key-2": "-"},
        },
        "groups": {"org name": ["Amplitude"]},
        "insert_id": "user device -1574689578 19675",
        "time": AT,
        "library": f"evaluation-proxy/{__version__}",
    }


def test_only_the_user_has_an_id() -> None:
    event = event_of(outcome(), user_id="u", device_id=None)

    assert "device_id" not in event
    assert "groups" not in event
    assert event["insert_id"] == f"u null {java_hash('u null f on ')} 19675"


def test_an_empty_id_is_not_sent_but_counts_in_the_insert_id() -> None:
    event = event_of(outcome(), user_id="", device_id="d")

    assert "user_id" not in event
    assert event["insert_id"] == f" d {java_hash(' d f on ')} 19675"


@pytest.mark.parametrize(
    ("one", "properties", "assigned", "unassigned"),
    [
        (outcome("f", "on"), {"f.variant": "on"}, {"[Experiment] f": "on"}, {}),
        (outcome("f", "off", default=True), {"f.variant": "off"}, {}, {"[Experiment] f": "-"}),
        (
            outcome("m", "slot-1", flagType="mutual-exclusion-group"),
            {"m.variant": "slot-1"},
            {},
            {},
        ),
        (
            outcome("h", "holdout", flagType="holdout-group"),
            {"h.variant": "holdout"},
            {"[Experiment] h": "holdout"},
            {},
        ),
        (
            outcome("f", "on", trackExposure=False, deployed=False),
            {"f.variant": "on"},
            {"[Experiment] f": "on"},
            {},
        ),
        (outcome("f", "on", default="true"), {"f.variant": "on"}, {"[Experiment] f": "on"}, {}),
    ],
    ids=["no metadata", "default", "mutex", "holdout", "untracked, undeployed", "text default"],
)
def test_each_kind_of_flag(
    one: Any, properties: dict[str, str], assigned: dict[str, str], unassigned: dict[str, str]
) -> None:
    event = event_of(one)

    assert event["event_properties"] == properties
    assert event["user_properties"] == {"$set": assigned, "$unset": unassigned}


@pytest.mark.parametrize(
    ("metadata", "details"),
    [
        ({"flagVersion": 3}, None),
        ({"segmentName": "s"}, None),
        ({"flagVersion": None, "segmentName": "s"}, None),
        ({"flagVersion": 0, "segmentName": ""}, "v0 rule:"),
        ({"flagVersion": "7", "segmentName": "s"}, "v7 rule:s"),
        ({"flagVersion": 1, "segmentName": "s" * 2000}, "v1 rule:" + "s" * 1016),
    ],
)
def test_details_need_both_parts_and_have_an_end(
    metadata: dict[str, Any], details: str | None
) -> None:
    properties = event_of(outcome(**metadata))["event_properties"]

    assert properties.get("f.details") == details


def test_user_properties_can_be_switched_off() -> None:
    assert "user_properties" not in event_of(outcome(), user_properties=False)


def test_texts_longer_than_upstream_takes_are_bounded() -> None:
    event = event_of(outcome("k" * 1012), outcome("short", "v" * 3000))

    assert event["event_properties"] == {"short.variant": "v" * 1024}
    assert event["user_properties"]["$set"] == {"[Experiment] short": "v" * 1024}


def test_half_a_surrogate_pair_does_not_break_an_event() -> None:
    event = event_of(
        outcome("f\ud800", "on"), user_id="u\udc00", groups={"org\ud801": ["a\ud802", "b"]}
    )

    assert event["user_id"] == "u\ufffd"
    assert event["event_properties"] == {"f\ufffd.variant": "on"}
    assert event["groups"] == {"org\ufffd": ["a\ufffd", "b"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u", "u"),
        ("", ""),
        (123, "123"),
        (-1, "-1"),
        (1.5, "1.5"),
        (None, None),
        (True, None),
        (["u"], None),
        ({"id": "u"}, None),
    ],
)
def test_ids_are_texts_or_numbers(value: Any, expected: str | None) -> None:
    assert id_text(value) == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"org": "acme"}, {"org": ["acme"]}),
        ({"org": ["acme", "bcme"]}, {"org": ["acme", "bcme"]}),
        ({"org": []}, {}),
        ({"org": [None, True, {}, "", "b", 7]}, {"org": ["b", "7"]}),
        ({"": ["a"], "t" * 1025: ["a"], "ok": ["n" * 1025, "n" * 1024]}, {"ok": ["n" * 1024]}),
        ({"org": None, "team": {"a": 1}}, {}),
        (["org"], {}),
        ("org", {}),
        (
            {f"t{number}": ["a"] for number in range(7)},
            {f"t{number}": ["a"] for number in range(5)},
        ),
        (
            {"a": [str(n) for n in range(8)], "b": ["x", "y", "z"], "c": ["w"]},
            {"a": [str(n) for n in range(8)], "b": ["x", "y"]},
        ),
    ],
)
def test_groups_are_names_of_five_types_and_ten_in_all(groups: Any, expected: Any) -> None:
    assert group_names(groups) == expected
