"""Partial evaluation: flag configs resolved against what is known of the user so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.evaluation.interpreter import bucketed_variant
from proxy.evaluation.model import Allocation, Bucket, Condition, Flag, Segment
from proxy.evaluation.operators import NONE, PatternMatcher, predicate
from proxy.evaluation.results import variant_members
from proxy.evaluation.selectors import select
from proxy.evaluation.users import evaluation_context, plain

ALWAYS = Condition(selector=(), op="is", values=(NONE,))
"""Holds for everybody: no selector finds nothing."""
NEVER = Condition(selector=(), op="is not", values=(NONE,))
"""Holds for nobody."""


def partially_evaluate(
    flags: Mapping[str, Flag], user: Mapping[str, Any], *, match: PatternMatcher
) -> list[dict[str, Any]]:
    """Give the flag configs, ready for `msgspec.json.encode`, without what the user decides.

    Buckets whose value is known become their variant; conditions whose value is known are dropped,
    or make their inner list false. Results of other flags count as unknown.
    """
    target = {"context": evaluation_context(plain(user)), "result": {}}
    return [
        _without_nulls(
            {
                "key": flag.key,
                "dependencies": flag.dependencies or None,
                "metadata": flag.metadata or None,
                "variants": {
                    key: variant_members(variant, variant.metadata)
                    for key, variant in flag.variants.items()
                },
                "segments": [_segment(segment, target, match) for segment in flag.segments],
            }
        )
        for flag in flags.values()
    ]


def _segment(segment: Segment, target: Mapping[str, Any], match: PatternMatcher) -> dict[str, Any]:
    known = segment.bucket is not None and select(segment.bucket.selector, target) is not None
    return _without_nulls(
        {
            "metadata": segment.metadata or None,
            "conditions": None
            if segment.conditions is None
            else [
                [condition_members(condition) for condition in _remaining(inner, target, match)]
                for inner in segment.conditions
            ],
            "bucket": None if segment.bucket is None or known else bucket_members(segment.bucket),
            "variant": bucketed_variant(segment, target) if known else segment.variant,
        }
    )


def _remaining(
    conditions: Iterable[Condition], target: Mapping[str, Any], match: PatternMatcher
) -> Sequence[Condition]:
    """Keep the conditions on unknown values; a known one that fails makes the whole list false."""
    unknown: list[Condition] = []
    for condition in conditions:
        value = select(condition.selector, target)
        if value is None:
            unknown.append(condition)
        elif not predicate(condition.op, condition.values, match)(value):
            return [NEVER]
    return unknown or [ALWAYS]


def condition_members(condition: Condition) -> dict[str, Any]:
    """Give the members that a condition has in JSON, ready for the encoder."""
    return {"selector": condition.selector, "op": condition.op, "values": condition.values}


def bucket_members(bucket: Bucket) -> dict[str, Any]:
    """Give the members that a bucket has in JSON, ready for the encoder."""
    return {
        "selector": bucket.selector,
        "salt": bucket.salt,
        "allocations": [_allocation_members(allocation) for allocation in bucket.allocations],
    }


def _allocation_members(allocation: Allocation) -> dict[str, Any]:
    return {
        "range": [allocation.start, allocation.end],
        "distributions": [
            {"variant": distribution.variant, "range": [distribution.start, distribution.end]}
            for distribution in allocation.distributions
        ],
    }


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in members.items() if member is not None}
