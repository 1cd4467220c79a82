import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.dependencies import CycleError
from proxy.evaluation.interpreter import interpret, interpret_with_trace
from proxy.evaluation.model import Flag


def equal(pattern: str, text: str) -> bool:
    return pattern == text


def condition(op: str, *values: str, of: list[str]) -> dict[str, Any]:
    return {"selector": of, "op": op, "values": list(values)}


def flag(key: str, *segments: Mapping[str, Any], **members: Any) -> dict[str, Flag]:
    variants = {name: {"key": name, "value": name} for name in ("on", "off")}
    made = {"key": key, "variants": variants, "segments": segments, **members}
    return {key: decode_flag(json.dumps(made).encode())}


def keys(flags: Mapping[str, Flag], user: Mapping[str, Any], *asked: str) -> dict[str, str]:
    results = interpret(flags, user, asked, match=equal)
    return {key: result.variant.key for key, result in results.items()}


USER_ID = ["context", "user", "user_id"]


def test_the_first_segment_that_gives_a_variant_decides() -> None:
    flags = flag(
        "f",
        {"conditions": [[condition("is", "u", of=USER_ID)]], "variant": "gone"},
        {"conditions": [], "variant": "off"},
        {"conditions": [[], [condition("is", "x", of=USER_ID)]], "variant": None},
        {"conditions": [[]], "variant": "on"},
        {"variant": "off"},
    )

    results = interpret(flags, {"user_id": "u"}, match=equal)

    assert results["f"].variant.key == "on"
    assert results["f"].segment_index == 3


def test_a_flag_that_no_segment_decides_has_no_result() -> None:
    assert keys(flag("f", {"conditions": [], "variant": "on"}) | flag("g"), {}) == {}


def test_the_variant_carries_its_own_key_not_that_of_the_map() -> None:
    flags = flag("f", {"variant": "a"}, variants={"a": {"key": "b"}})

    assert keys(flags, {}) == {"f": "b"}


def test_asked_flags_bring_what_they_depend_on() -> None:
    flags = (
        flag("c", {"variant": "on"})
        | flag("a", {"variant": "on"}, dependencies=["b", "ghost"])
        | flag("b", {"variant": "off"})
    )

    assert list(keys(flags, {}, "a", "unknown", "a")) == ["b", "a"]
    assert list(keys(flags, {})) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (["key"], "on"),
        (["value"], "on"),
        (["metadata", "n"], "1.0"),
        (["metadata", "missing"], None),
        (["payload"], None),
    ],
)
def test_a_result_can_be_selected_by_a_later_flag(selector: list[str], found: str | None) -> None:
    later = condition("is", found or "(none)", of=["result", "early", *selector])
    flags = flag("early", {"variant": "on"}, metadata={"n": 1.0}) | flag(
        "later", {"conditions": [[later]], "variant": "on"}, {"variant": "off"}
    )

    assert keys(flags, {}) == {"early": "on", "later": "on"}


@pytest.mark.parametrize("selector", [["result", "later", "key"], ["result", "ghost", "key"]])
def test_a_result_that_is_not_there_is_null(selector: list[str]) -> None:
    flags = flag(
        "f", {"conditions": [[condition("is", "(none)", of=selector)]], "variant": "on"}
    ) | flag("later", {"variant": "on"})

    assert keys(flags, {}, "f") == {"f": "on"}


def test_empty_metadata_of_a_result_is_null() -> None:
    none = condition("is", "(none)", of=["result", "early", "metadata"])
    flags = flag("early", {"variant": "on"}) | flag(
        "later", {"conditions": [[none]], "variant": "on"}
    )

    assert keys(flags, {}) == {"early": "on", "later": "on"}


def test_a_cycle_fails_what_reaches_it_only() -> None:
    flags = (
        flag("a", dependencies=["b"]) | flag("b", dependencies=["a"]) | flag("c", {"variant": "on"})
    )

    assert keys(flags, {}, "c") == {"c": "on"}
    with pytest.raises(CycleError):
        keys(flags, {})


def test_a_boolean_or_number_is_bucketed_by_its_text() -> None:
    def bucketed(user_id: Any) -> Any:
        halves = [{"range": [0, 100], "distributions": [{"variant": "on", "range": [0, 21474837]}]}]
        bucket = {"selector": USER_ID, "salt": "s", "allocations": halves}
        flags = flag("f", {"bucket": bucket, "variant": "off"})
        return keys(flags, {"user_id": user_id})["f"]

    assert bucketed(True) == bucketed("true")
    assert bucketed(1.0) == bucketed("1.0")
    assert bucketed([1, {"a": None}]) == bucketed('[1,{"a":null}]')
    assert bucketed("") == bucketed(None) == "off"
    assert {bucketed(number) for number in range(50)} == {"on", "off"}


def test_a_trace_tells_of_every_segment_and_of_repeats() -> None:
    tried = condition("is", "x", "x", of=USER_ID)
    flags = flag(
        "f",
        {"conditions": [[tried], [condition("set is not", of=["context", "user", "none"])]]},
        {"variant": "gone", "metadata": {"segmentName": "Gone"}},
        {"variant": "on", "metadata": {"n": 1}},
        {"conditions": [], "variant": "off", "metadata": {"segmentName": "After"}},
    )

    results, traces = interpret_with_trace(flags, {"user_id": "u"}, match=equal)

    assert list(results) == ["f"]
    assert traces == {
        "f": {
            "flagKey": "f",
            "matched": True,
            "steps": [
                {
                    "conditionsPassed": True,
                    "bucketed": False,
                    "conditionResult": [
                        [{"propValue": "u", "condition": tried, "matched": False}],
                        [
                            {
                                "condition": condition(
                                    "set is not", of=["context", "user", "none"]
                                ),
                                "matched": True,
                            }
                        ],
                    ],
                    "matched": False,
                },
                {
                    "segmentMetadata": {"segmentName": "Gone"},
                    "conditionsPassed": True,
                    "bucketed": True,
                    "bucketVariant": "gone",
                    "matched": True,
                },
                {
                    "segmentMetadata": {"n": 1},
                    "conditionsPassed": True,
                    "bucketed": True,
                    "bucketVariant": "on",
                    "matched": True,
                },
                {
                    "segmentMetadata": {"segmentName": "After"},
                    "conditionsPassed": False,
                    "bucketed": False,
                    "conditionResult": [],
                    "matched": False,
                },
            ],
        }
    }
