"""Flag configs as people read them."""

from typing import Any

import msgspec
from hypothesis import given

from proxy.admin.describing import describe
from proxy.admin.shares import MOST_RANGES
from proxy.evaluation.decode import decode_flag
from tests.builders import condition, flag, segment
from tests.evaluation.strategies import as_json, flags

ALL = [0, 42949673]


def described(written: dict[str, Any]) -> dict[str, Any]:
    return describe(decode_flag(as_json(written)))


def rollout(percent: int, variant: str = "on", otherwise: str | None = None) -> dict[str, Any]:
    dealt = [{"variant": variant, "range": ALL}]
    bucket = {
        "selector": ["context", "user", "device_id"],
        "salt": "s",
        "allocations": [{"range": [0, percent], "distributions": dealt}],
    }
    return {"bucket": bucket, "variant": otherwise, "metadata": {"segmentName": "Beta"}}


def test_a_flag_is_described_with_all_that_people_ask_about() -> None:
    plan = condition(["context", "user", "user_properties", "plan"], "is", "gold")
    cohort = condition(["context", "user", "cohort_ids"], "set contains any", "c1")
    told = described(
        flag(
            "checkout",
            segment("on", plan, cohort, segmentName="VIP"),
            rollout(10, otherwise="off"),
            dependencies=["parent"],
            payload={"a": 1},
            flagVersion=7,
            flagType="release",
            evaluationMode="local",
            deliveryMethod="feature",
        )
    )

    assert told == {
        "key": "checkout",
        "version": 7,
        "type": "release",
        "evaluation_mode": "local",
        "delivery_method": "feature",
        "deployed": True,
        "on": True,
        "dependencies": ["parent"],
        "cohorts": ["c1"],
        "variants": [
            {"key": "on", "name": "on", "has_payload": True},
            {"key": "off", "name": "off", "has_payload": False},
        ],
        "segments": [
            {
                "name": "VIP",
                "conditions": [
                    ["user_properties.plan is gold", "user is in any of the cohorts c1"]
                ],
                "bucketed_by": None,
                "shares": [],
                "variant": "on",
                "too_many_ranges": False,
            },
            {
                "name": "Beta",
                "conditions": None,
                "bucketed_by": "device_id",
                "shares": [{"variant": "on", "percent": 10.0}],
                "variant": "off",
                "too_many_ranges": False,
            },
        ],
    }


def test_a_flag_is_on_when_somebody_can_get_more_than_off_or_a_default() -> None:
    def is_on(*segments: dict[str, Any]) -> bool:
        return bool(described(flag("f", *segments))["on"])

    assert is_on(segment("on"))
    assert not is_on(segment("off"))
    assert not is_on(segment("unknown"))
    assert not is_on({**segment("on"), "conditions": []})
    assert is_on(rollout(1))
    assert not is_on(rollout(0, otherwise="off"))
    # Whoever has no device gets it.
    assert is_on(rollout(100, variant="off", otherwise="on"))
    assert not is_on({"variant": "on", "metadata": {"default": True}})


def test_ranges_that_are_too_many_to_add_up_are_said_to_be() -> None:
    segment_of = rollout(10)
    dealt = [{"variant": "on", "range": [0, 1]}] * (MOST_RANGES + 1)
    segment_of["bucket"]["allocations"][0]["distributions"] = dealt

    told = described(flag("f", segment_of))
    (one,) = told["segments"]
    assert (one["too_many_ranges"], one["shares"], told["on"]) == (True, [], True)


def test_metadata_of_another_kind_is_as_good_as_none() -> None:
    told = described(flag("f", flagVersion="7", flagType=[1], evaluationMode={"a": 1}))
    assert (told["version"], told["type"], told["evaluation_mode"]) == (None, "", "")
    assert described(flag("f", flagVersion=True, deployed=False))["deployed"] is False


@given(flags())
def test_every_flag_that_can_be_read_can_be_described(written: dict[str, Any]) -> None:
    told = described(written)

    assert msgspec.json.decode(msgspec.json.encode(told)) == told
    assert len(told["segments"]) == len(written["segments"])
    for one in told["segments"]:
        assert sum(share["percent"] for share in one["shares"]) <= 100.1
