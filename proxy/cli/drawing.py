"""The trace of an evaluation, drawn for human eyes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.model import Bucket, Flag
from proxy.evaluation.selectors import select
from proxy.evaluation.text import text
from proxy.evaluation.users import evaluation_context

YES, NO = "yes", "no"
EVERYBODY = "(no conditions: everybody)"


Buckets = Mapping[str, list[str]]
"""For each flag key one line for each segment; empty where the segment has no bucket."""


def buckets_of(flags: Mapping[str, Flag], user: Mapping[str, Any]) -> Buckets:
    """Say where a user falls in the bucket of each segment of each flag."""
    target = {"context": evaluation_context(user)}
    return {
        key: [
            _bucket(segment.bucket, target) if segment.bucket else "" for segment in flag.segments
        ]
        for key, flag in flags.items()
    }


def _bucket(bucket: Bucket, target: Mapping[str, Any]) -> str:
    selector = ".".join(bucket.selector)
    value = text(select(bucket.selector, target))
    if not value:
        return f"no bucket: {selector} is missing, so the segment's own variant"
    hashed = bucket_hash(bucket.salt, value)
    return (
        f"bucket of {selector} {json_text(value).decode()} with salt"
        f" {json_text(bucket.salt).decode()}: hash {hashed},"
        f" {hashed % 100} of 0..99, {hashed // 100} of 0..42949672"
    )


def draw(traces: Iterable[Mapping[str, Any]], variants: Mapping[str, str], buckets: Buckets) -> str:
    """Return the traces as text, one paragraph a flag; `variants` maps flag key to variant key."""
    return "\n\n".join("\n".join(_flag(trace, variants, buckets)) for trace in traces)


def _flag(trace: Mapping[str, Any], variants: Mapping[str, str], buckets: Buckets) -> Iterator[str]:
    key = str(trace["flagKey"])
    yield f"{key} -> {variants.get(key, '(no variant)')}"
    decided = False
    for number, step in enumerate(trace["steps"], start=1):
        note = "  (decided before)" if decided else ""
        yield f"  {number}. {_name(step)}: {_outcome(step)}{note}"
        yield from _conditions(step)
        where = buckets[key][number - 1]
        if where and step["conditionsPassed"]:
            yield f"       {where}"
        decided = decided or bool(step["matched"])


def _name(step: Mapping[str, Any]) -> str:
    metadata = step.get("segmentMetadata") or {}
    return str(metadata.get("segmentName", "segment"))


def _outcome(step: Mapping[str, Any]) -> str:
    if not step["conditionsPassed"]:
        return "not for this user"
    if not step["bucketed"]:
        return "for this user, but outside its rollout"
    return f"gives {step.get('bucketVariant', '(nothing)')}"


def _conditions(step: Mapping[str, Any]) -> Iterator[str]:
    tried = step.get("conditionResult")
    if tried is None:
        yield f"       {EVERYBODY}"
        return
    for number, inner in enumerate(tried):
        for place, test in enumerate(inner):
            joint = "and" if place else ("or" if number else "if")
            condition = test["condition"]
            wanted = ", ".join(condition["values"]) or "(nothing)"
            selector = ".".join(condition["selector"]) or "(nothing)"
            seen = _seen(test)
            answer = YES if test["matched"] else NO
            yield f"       {joint:>3} {selector} {condition['op']} {wanted}: {answer}, it is {seen}"


def _seen(test: Mapping[str, Any]) -> str:
    value = test.get("propValue")
    return "missing" if value is None else json_text(value).decode()


def json_text(value: Any) -> bytes:
    """Encode as JSON; half of a surrogate pair, which no encoding has, shows as `?`."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(part) for name, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, list) else value
