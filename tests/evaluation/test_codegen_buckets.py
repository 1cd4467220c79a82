"""A bucket's bounds of the hash against its ranges."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.bucketing import bucket_hash, choose
from proxy.evaluation.codegen_buckets import Step, chooser, steps
from proxy.evaluation.decode import decode_flag
from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.model import Bucket
from tests.evaluation import strategies
from tests.evaluation.strategies import as_json

OUTCOMES: dict[str | None, str] = {"on": "ON", "off": "OFF", "x": "X"}
SERVED = [
    {"variant": "on", "range": [0, 21474837]},
    {"variant": "off", "range": [21474836, 42949673]},
]


def bucket(allocations: list[Any]) -> Bucket:
    raw = {"selector": ["context", "user", "user_id"], "salt": "s", "allocations": allocations}
    flag = {"key": "f", "variants": {}, "segments": [{"bucket": raw}]}
    found = decode_flag(as_json(flag)).segments[0].bucket
    assert found is not None
    return found


def bounds(step: Step[str]) -> tuple[int | None, int | None, int | None, int | None]:
    return step.share_from, step.share_to, step.hash_from, step.hash_to


@given(st.lists(strategies.allocations, max_size=3), st.lists(st.integers(0, 10**6), min_size=20))
def test_bounds_answer_as_ranges_do(allocations: list[Any], numbers: list[int]) -> None:
    made = bucket(allocations)
    choosing = chooser(steps(made, OUTCOMES, "DEFAULT"))

    for number in numbers:
        value = f"user{number}"
        key = choose(made, value, "default")
        expected = "DEFAULT" if key == "default" else OUTCOMES.get(key)
        assert choosing(bucket_hash("s", value)) == expected


def test_a_full_allocation_needs_no_share_and_one_comparison() -> None:
    served = steps(bucket([{"range": [0, 100], "distributions": SERVED}]), OUTCOMES, None)

    assert [(bounds(step), step.outcome) for step in served] == [
        ((None, None, None, 2147483700), "ON"),
        ((None, None, None, None), "OFF"),
    ]


def test_what_gives_everybody_the_same_is_one_step() -> None:
    everything = [{"variant": "on", "range": [0, 42949673]}]

    served = steps(bucket([{"range": [0, 50], "distributions": everything}]), OUTCOMES, "ON")

    assert [(step.always, step.outcome) for step in served] == [(True, "ON")]


def test_a_bucket_with_very_many_ranges_is_looked_up() -> None:
    shares = [
        {"variant": "on" if place % 2 else "off", "range": [place * 10**6, (place + 1) * 10**6]}
        for place in range(40)
    ]
    allocations = [{"range": [10, 90], "distributions": shares}]
    made = bucket(allocations)
    served = {"selector": made.selector, "salt": made.salt, "allocations": allocations}
    flag = {
        "key": "f",
        "variants": {"on": {"key": "on"}, "off": {"key": "off"}, "rest": {"key": "rest"}},
        "segments": [{"bucket": served, "variant": "rest"}],
    }
    deployment = compile_deployment(as_json([flag]))

    for number in range(300):
        (found,) = deployment.evaluate({"user_id": f"user{number}"})
        assert found.variant_key == choose(made, f"user{number}", "rest")
