"""What a flag config means, as values that are equal just when it means the same. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import msgspec

from proxy.evaluation.model import Condition, Flag, Segment
from proxy.evaluation.users import parse_json


def meaning(flag: Flag) -> Hashable:
    """Return the meaning of a whole flag config; the order of segments is part of it."""
    variants = {
        key: (one.key, *map(json_meaning, (one.value, one.payload, one.metadata)))
        for key, one in flag.variants.items()
    }
    return (
        frozenset(variants.items()),
        tuple(
            (conditions_meaning(one), bucket_meaning(one), one.variant, json_meaning(one.metadata))
            for one in flag.segments
        ),
        flag.dependencies,
        json_meaning(flag.metadata),
    )


def conditions_meaning(segment: Segment) -> Hashable:
    """Return whom a segment takes in: None for everybody."""
    if segment.conditions is None:
        return None
    return frozenset(frozenset(map(condition_meaning, inner)) for inner in segment.conditions)


def condition_meaning(condition: Condition) -> Hashable:
    """Return what a condition asks for."""
    return condition.selector, condition.op, frozenset(condition.values)


def bucket_meaning(segment: Segment) -> Hashable:
    """Return how a segment chooses, None if it has no bucket."""
    bucket = segment.bucket
    if bucket is None:
        return None
    return (
        bucket.selector,
        bucket.salt,
        tuple(
            (one.start, one.end, tuple((d.variant, d.start, d.end) for d in one.distributions))
            for one in bucket.allocations
        ),
    )


def json_meaning(value: Any) -> Hashable:
    """Return what a JSON value means, given as text or parsed; None is absence.

    Numbers differ when they are written as different kinds (1 and 1.0): they are passed on so.
    """
    if isinstance(value, msgspec.Raw):
        return json_meaning(parse_json(value))
    if isinstance(value, Mapping):
        return frozenset((name, json_meaning(member)) for name, member in value.items())
    if isinstance(value, list):
        return tuple(map(json_meaning, value))
    return type(value).__name__, value
