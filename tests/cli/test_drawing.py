"""A trace, drawn."""

from itertools import count
from typing import Any

from proxy.cli.drawing import draw, json_text
from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.interpreter import interpret_with_trace
from proxy.evaluation.model import Allocation, Bucket, Distribution, Flag, Segment, Variant


def test_the_way_to_a_variant_is_drawn_step_by_step() -> None:
    def tried(value: Any, matched: bool, field: str = "country") -> dict[str, Any]:
        selector = ["context", "user", field]
        condition = {"selector": selector, "op": "is", "values": ["DE", "AT"]}
        seen = {} if value is None else {"propValue": value}
        return {**seen, "condition": condition, "matched": matched}

    steps = [
        {
            "segmentMetadata": {"segmentName": "First"},
            "conditionsPassed": False,
            "bucketed": False,
            "matched": False,
            "conditionResult": [[tried("FR", False)], [tried("DE", True), tried(None, False)]],
        },
        {
            "conditionsPassed": True,
            "bucketed": False,
            "matched": False,
            "conditionResult": [[tried(["\ud800"], True)]],
        },
        {
            "segmentMetadata": {"segmentName": "All Other Users"},
            "conditionsPassed": True,
            "bucketed": True,
            "bucketVariant": "on",
            "matched": True,
        },
        {"conditionsPassed": True, "bucketed": True, "bucketVariant": "off", "matched": True},
    ]

    traces: list[dict[str, Any]] = [{"flagKey": "f", "steps": steps}, {"flagKey": "g", "steps": []}]
    drawn = draw(traces, {"f": "on"})

    assert drawn == (
        "f -> on\n"
        "  1. First: not for this user\n"
        '        if context.user.country is DE, AT: no, it is "FR"\n'
        '        or context.user.country is DE, AT: yes, it is "DE"\n'
        "       and context.user.country is DE, AT: no, it is missing\n"
        "  2. segment: for this user, but outside its rollout\n"
        '        if context.user.country is DE, AT: yes, it is ["?"]\n'
        "  3. All Other Users: gives on\n"
        "       (no conditions: everybody)\n"
        "  4. segment: gives off  (decided before)\n"
        "       (no conditions: everybody)\n"
        "\n"
        "g -> (no variant)"
    )


def test_half_a_surrogate_pair_shows_as_a_question_mark() -> None:
    assert json_text({"\ud800a": ["\udfff", 1, None]}) == b'{"?a":["?",1,null]}'


def drawn_with(*distributions: Distribution, user_id: str = "ada") -> list[str]:
    """The lines on the first bucket of a flag that is rolled out to the places 0 to 49."""
    bucket = Bucket(
        selector=("context", "user", "user_id"),
        salt="s",
        allocations=(Allocation(start=0, end=50, distributions=distributions),),
    )
    variants = {"on": Variant(key="on")}
    flag = Flag(key="f", variants=variants, segments=(Segment(bucket=bucket, variant="on"),))
    _, traces = interpret_with_trace(
        {"f": flag}, {"user_id": user_id}, match=lambda _, __: False, bucketing=True
    )
    return [line.strip() for line in draw(traces.values(), {}).splitlines()[3:]]


def somebody(places: range) -> str:
    names = (f"user-{number}" for number in count())
    return next(name for name in names if bucket_hash("s", name) % 100 in places)


def test_a_bucket_tells_what_is_hashed_and_where_it_falls() -> None:
    halves = Distribution(variant="on", start=0, end=21), Distribution(variant="b", start=21, end=9)
    inside, outside = somebody(range(50)), somebody(range(50, 100))

    for user_id, last in (
        (inside, "within 0..49: 0..20 on, 21..8 b"),
        (outside, "the rollout is for 0..49: the segment's own variant"),
    ):
        hashed = bucket_hash("s", user_id)
        first = (
            f'bucket of context.user.user_id "{user_id}" with salt "s": hash {hashed},'
            f" {hashed % 100} of 0..99, {hashed // 100} of 0..42949672"
        )
        assert drawn_with(*halves, user_id=user_id) == [first, last]
    assert drawn_with(user_id=inside)[1] == "within 0..49: (nothing)"
    assert drawn_with(user_id="") == [
        "no bucket: context.user.user_id is missing, so the segment's own variant"
    ]
