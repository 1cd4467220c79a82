"""Outcomes are made ready once, in every form that somebody asks for."""

from typing import Any

import msgspec
import pytest

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.model import Flag, Segment, Variant
from proxy.evaluation.outcomes import Outcome, answer, answer_v1

Json = dict[str, Any]


def outcome(variant: Json, flag_metadata: Json | None = None, key: str = "f") -> Outcome:
    raw = {
        "key": key,
        "variants": {"v": variant},
        "segments": [{"metadata": {"segmentName": "All Other Users", "shared": "segment"}}],
        "metadata": flag_metadata,
    }
    flag = decode_flag(msgspec.json.encode(raw))
    return Outcome.of(flag, 0, flag.variants["v"])


def test_the_answer_is_a_json_object_by_flag_key() -> None:
    on = outcome({"key": "on", "value": "on", "payload": [1, None]}, key='a"b')
    off = outcome({"key": "off"}, key="é")

    read = msgspec.json.decode(answer([on, off]))

    metadata = {"segmentName": "All Other Users", "shared": "segment"}
    assert read == {
        'a"b': {"key": "on", "value": "on", "payload": [1, None], "metadata": metadata},
        "é": {"key": "off", "metadata": metadata},
    }
    assert list(read) == ['a"b', "é"]


def test_no_outcomes_are_an_empty_object() -> None:
    assert answer([]) == b"{}"
    assert answer_v1([]) == b"{}"


def test_metadata_is_merged_with_later_ones_winning() -> None:
    variant = {"key": "on", "metadata": {"shared": None, "own": 1}}

    found = outcome(variant, {"shared": "flag", "deployed": True})

    assert {name: bytes(raw) for name, raw in found.metadata.items()} == {
        "shared": b"null",
        "deployed": b"true",
        "segmentName": b'"All Other Users"',
        "own": b"1",
    }


@pytest.mark.parametrize(
    ("value", "served"),
    [
        ('"text"', "text"),
        ("1.50", "1.50"),
        ("true", "true"),
        ('{"a": [1, 2e3]}', '{"a":[1,2e3]}'),
        ('[ "\\u00e9" ]', '["\\u00e9"]'),
        ("null", None),
    ],
)
def test_a_value_is_served_as_a_string_and_reported_as_it_came(
    value: str, served: str | None
) -> None:
    variant = msgspec.Raw(b'{"key": "v", "value": %b}' % value.encode())
    raw = b'{"key":"f","variants":{"v":%b},"segments":[{}]}' % bytes(variant)
    flag = decode_flag(raw)

    found = Outcome.of(flag, 0, flag.variants["v"])

    assert msgspec.json.decode(answer([found]))["f"].get("value") == served
    assert msgspec.json.decode(found.result).get("value") == msgspec.json.decode(value)


def test_numbers_of_a_payload_pass_through_as_they_came() -> None:
    payload = b"[1e3, 12345678901234567890]"
    raw = b'{"key":"f","variants":{"v":{"key":"v","payload":%b}},"segments":[{}]}' % payload
    flag = decode_flag(raw)

    found = Outcome.of(flag, 0, flag.variants["v"])

    assert b'"payload":' + payload in found.fragment


@pytest.mark.parametrize(
    ("metadata", "served"),
    [
        ({}, True),
        ({"default": True}, False),
        ({"default": "true"}, True),
        ({"default": 1}, True),
        ({"deployed": False}, False),
        ({"deployed": "false"}, True),
        ({"deployed": None}, True),
    ],
)
def test_version_1_leaves_out_what_is_default_or_not_deployed(metadata: Json, served: bool) -> None:
    found = outcome({"key": "on", "metadata": metadata})

    assert bool(found.fragment_v1) is served
    assert list(msgspec.json.decode(answer_v1([found]))) == (["f"] if served else [])


def test_version_1_tells_the_experiment() -> None:
    with_key = outcome({"key": "on"}, {"experimentKey": "exp-1"})
    without = outcome({"key": "on"}, {"experimentKey": None})

    assert msgspec.json.decode(answer_v1([with_key]))["f"]["expKey"] == "exp-1"
    assert "expKey" not in msgspec.json.decode(answer_v1([without]))["f"]


def test_facts_for_events_are_read_from_the_metadata() -> None:
    metadata = {
        "flagType": "experiment",
        "flagVersion": 12,
        "experimentKey": "exp-1",
        "trackExposure": False,
        "deployed": False,
    }
    found = outcome({"key": " on ", "metadata": {"default": True}}, metadata, key=" f")

    assert found.canonical == "f on "
    assert found.is_default
    assert not found.is_deployed
    assert not found.track_exposure
    assert found.flag_type == "experiment"
    assert found.flag_version == "12"
    assert found.segment_name == "All Other Users"
    assert found.experiment_key == "exp-1"


def test_facts_that_are_absent_or_no_texts_are_none() -> None:
    found = outcome({"key": "on"}, {"flagVersion": {"a": 1}, "flagType": None})

    assert found.flag_type is None
    assert found.flag_version is None
    assert found.experiment_key is None
    assert not found.is_default
    assert found.is_deployed
    assert found.track_exposure


def test_a_selector_finds_key_value_and_metadata() -> None:
    found = outcome({"key": "on", "value": {"a": 1}, "payload": 5})

    assert found.view == {
        "key": "on",
        "value": {"a": 1},
        "metadata": {"segmentName": "All Other Users", "shared": "segment"},
    }


def test_what_is_nested_too_deep_to_be_read_is_served_but_not_selected() -> None:
    deep = msgspec.Raw(b"[" * 50_000 + b"]" * 50_000)
    variant = Variant(key="on", value=deep, metadata={"flagType": deep})
    flag = Flag(key="f", variants={"on": variant}, segments=(Segment(),))

    found = Outcome.of(flag, 0, variant)

    assert b'"value":"[[[' in found.fragment
    assert found.view == {"key": "on"}
    assert found.flag_type is None
