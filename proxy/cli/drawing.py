"""The trace of an evaluation, drawn for human eyes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.cli.terminal import harmless

YES, NO = "yes", "no"
EVERYBODY = "(no conditions: everybody)"


def draw(traces: Iterable[Mapping[str, Any]], variants: Mapping[str, str]) -> str:
    """Return the traces as text, one paragraph a flag; `variants` maps flag key to variant key."""
    return "\n\n".join("\n".join(map(harmless, _flag(trace, variants))) for trace in traces)


def _flag(trace: Mapping[str, Any], variants: Mapping[str, str]) -> Iterator[str]:
    key = str(trace["flagKey"])
    yield f"{key} -> {variants.get(key, '(no variant)')}"
    decided = False
    for number, step in enumerate(trace["steps"], start=1):
        note = "  (decided before)" if decided else ""
        yield f"  {number}. {_name(step)}: {_outcome(step)}{note}"
        yield from _conditions(step)
        yield from _bucketing(step.get("bucketing"))
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


def _bucketing(step: Mapping[str, Any] | None) -> Iterator[str]:
    """Say where a user falls in a segment's bucket, and what that gives."""
    if step is None:
        return
    selector = ".".join(step["selector"])
    if "hash" not in step:
        yield f"       no bucket: {selector} is missing, so the segment's own variant"
        return
    yield (
        f"       bucket of {selector} {json_text(step['value']).decode()} with salt"
        f" {json_text(step['salt']).decode()}: hash {step['hash']},"
        f" {step['bucket']} of 0..99, {step['point']} of 0..42949672"
    )
    if step["allocation"] is None:
        places = ", ".join(map(_range, step["allocations"])) or "nobody"
        yield f"       the rollout is for {places}: the segment's own variant"
        return
    dealt = [f"{_range(one['range'])} {one['variant']}" for one in step["distributions"]]
    yield f"       within {_range(step['allocation'])}: {', '.join(dealt) or '(nothing)'}"


def _range(bounds: Sequence[int]) -> str:
    return f"{bounds[0]}..{bounds[1] - 1}"


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
