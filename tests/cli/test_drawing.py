"""A trace, drawn."""

from typing import Any

from proxy.cli.drawing import buckets_of, draw, json_text
from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.model import Bucket, Flag, Segment


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

    buckets = {"f": ["never reached", "", "bucket of a: hash 7", ""], "g": []}
    traces: list[dict[str, Any]] = [{"flagKey": "f", "steps": steps}, {"flagKey": "g", "steps": []}]
    drawn = draw(traces, {"f": "on"}, buckets)

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
        "       bucket of a: hash 7\n"
        "  4. segment: gives off  (decided before)\n"
        "       (no conditions: everybody)\n"
        "\n"
        "g -> (no variant)"
    )


def test_half_a_surrogate_pair_shows_as_a_question_mark() -> None:
    assert json_text({"\ud800a": ["\udfff", 1, None]}) == b'{"?a":["?",1,null]}'


def test_a_bucket_tells_what_is_hashed_and_where_it_falls() -> None:
    bucket = Bucket(selector=("context", "user", "user_id"), salt="s", allocations=())
    flag = Flag(key="f", variants={}, segments=(Segment(bucket=bucket), Segment(variant="on")))

    hashed = bucket_hash("s", "ada")
    (told, nothing) = buckets_of({"f": flag}, {"user_id": "ada"})["f"]
    assert told == (
        f'bucket of context.user.user_id "ada" with salt "s": hash {hashed},'
        f" {hashed % 100} of 0..99, {hashed // 100} of 0..42949672"
    )
    assert nothing == ""
    (missing, _) = buckets_of({"f": flag}, {"user_id": ""})["f"]
    assert missing == "no bucket: context.user.user_id is missing, so the segment's own variant"
