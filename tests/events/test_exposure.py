from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import __version__
from proxy.events.canonical import identity_prefix, java_hash
from proxy.events.exposure import exposed, exposure_events
from proxy.events.subject import Subject
from tests.events.builders import outcome

AT = 1_700_000_000_000


def events_of(
    *outcomes: Any,
    user_id: str | None = "user",
    device_id: str | None = "device",
    groups: dict[str, list[str]] | None = None,
    asked: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    ordered = sorted(outcomes, key=lambda one: one.flag_key)
    subject = Subject(user_id, device_id, groups or {})
    bodies = exposure_events(subject, ordered, asked, AT)
    return [msgspec.json.decode(body) for body in bodies]


def flags(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_properties"]["[Experiment] Flag Key"] for event in events]


def test_an_event_is_the_one_that_server_sdks_send() -> None:
    metadata = {
        "deployed": True,
        "evaluationMode": "local",
        "experimentKey": "exp-1",
        "flagType": "experiment",
        "flagVersion": 3,
        "segmentName": "Seg",
    }
    [event] = events_of(outcome("f1", "on", **metadata), groups={"org name": ["Amplitude"]})

    assert event == {
        "event_type": "[Experiment] Exposure",
        "user_id": "user",
        "device_id": "device",
        "event_properties": {
            "[Experiment] Flag Key": "f1",
            "[Experiment] Variant": "on",
            "[Experiment] Experiment Key": "exp-1",
            "metadata": metadata,
        },
        "user_properties": {"$set": {"[Experiment] f1": "on"}, "$unset": {}},
        "groups": {"org name": ["Amplitude"]},
        "insert_id": f"user device {java_hash('f1 user device f1 on ')} 19675",
        "time": AT,
        "library": f"evaluation-proxy/{__version__}",
    }


def test_the_insert_id_is_that_of_the_flag_and_all_results() -> None:
    [event] = events_of(outcome("f", "on"))
    assert event["insert_id"] == "user device -4518376 19675"

    both = events_of(outcome("f", "on"), outcome("b", "off", default=True), device_id=None)
    hashed = java_hash("f user null b off f on ")
    assert [event["insert_id"] for event in both] == [f"user null {hashed} 19675"]


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=5, unique=True))
def test_the_hash_of_each_event_is_that_of_the_joined_text(results: list[tuple[str, str]]) -> None:
    outcomes = [outcome(flag, variant) for flag, variant in results]
    canonical = identity_prefix("u", "d") + "".join(one.canonical for one in outcomes)

    bodies = exposure_events(Subject("u", "d"), outcomes, (), AT)

    for one, body in zip(outcomes, bodies, strict=True):
        hashed = java_hash(f"{one.flag_key} {canonical}")
        assert msgspec.json.decode(body)["insert_id"] == f"u d {hashed} 19675"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ["f"]),
        ({"default": True}, []),
        ({"default": False}, ["f"]),
        ({"trackExposure": False}, []),
        ({"trackExposure": None}, ["f"]),
        ({"trackExposure": "false"}, ["f"]),
        ({"deployed": False}, []),
        ({"deployed": True}, ["f"]),
        ({"flagType": "holdout-group"}, ["f"]),
    ],
)
def test_which_flags_are_exposures(metadata: dict[str, Any], expected: list[str]) -> None:
    assert flags(events_of(outcome("f", "on", **metadata))) == expected


def test_there_is_one_event_for_each_flag_and_none_for_nothing() -> None:
    assert flags(events_of(outcome("b"), outcome("a"), outcome("c"))) == ["a", "b", "c"]
    assert events_of() == []


def test_only_flags_that_were_asked_for_are_exposures() -> None:
    results = [outcome("asked"), outcome("needed by asked")]

    [event] = events_of(*results, asked=("asked", "unknown"))

    assert event["event_properties"]["[Experiment] Flag Key"] == "asked"
    hashed = java_hash("asked user device asked on needed by asked on ")
    assert event["insert_id"] == f"user device {hashed} 19675"


def test_a_slot_of_a_mutual_exclusion_group_sets_no_user_property() -> None:
    [event] = events_of(outcome("m", "slot-1", flagType="mutual-exclusion-group"))

    assert event["event_properties"]["[Experiment] Variant"] == "slot-1"
    assert event["user_properties"] == {"$set": {}, "$unset": {}}


@pytest.mark.parametrize("key", ["", None, {}])
def test_an_empty_experiment_key_is_left_out(key: Any) -> None:
    [event] = events_of(outcome(experimentKey=key))

    assert "[Experiment] Experiment Key" not in event["event_properties"]


def test_without_metadata_there_is_none_in_the_event() -> None:
    assert events_of(outcome("f", "on"))[0]["event_properties"] == {
        "[Experiment] Flag Key": "f",
        "[Experiment] Variant": "on",
    }


def test_texts_longer_than_upstream_takes_are_bounded() -> None:
    long = "v" * 3000
    nested = {"list": [long, {long: long}]}
    [event] = events_of(
        outcome("k" * 1012), outcome("f", long, experimentKey=long, note=long, nested=nested)
    )

    cut = "v" * 1024
    assert event["event_properties"] == {
        "[Experiment] Flag Key": "f",
        "[Experiment] Variant": cut,
        "[Experiment] Experiment Key": cut,
        "metadata": {"experimentKey": cut, "note": cut, "nested": {"list": [cut, {cut: cut}]}},
    }
    assert event["user_properties"]["$set"] == {"[Experiment] f": cut}


def test_metadata_nested_too_deeply_is_left_out() -> None:
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    [event] = events_of(outcome(deep=deep, too_deep={"one more": deep}))

    assert event["event_properties"]["metadata"] == {"deep": deep}


def test_numbers_in_metadata_stay_as_they_were_written() -> None:
    one = outcome()
    metadata = {"a": msgspec.Raw(b"1.0"), "b": msgspec.Raw(b"123456789012345678901234567890")}
    one.metadata = metadata

    [body] = exposure_events(Subject("u", None), [one], (), AT)

    assert b'"metadata":{"a":1.0,"b":123456789012345678901234567890}' in body


def test_half_a_surrogate_pair_does_not_break_an_event() -> None:
    one = outcome("f\ud800", "on")
    one.metadata = {"notes": msgspec.Raw(b'["\\udc00",1,{}]')}

    [event] = events_of(one, user_id="u\udc00")

    assert event["event_properties"] == {
        "[Experiment] Flag Key": "f\ufffd",
        "[Experiment] Variant": "on",
        "metadata": {"notes": ["\ufffd", 1, {}]},
    }


def test_what_an_outcome_adds_is_worked_out_once() -> None:
    one = outcome()

    assert exposed(one) is exposed(one)
