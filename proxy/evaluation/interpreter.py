"""The interpreter: slow and obvious, rule by rule, with a trace of why.

It answers `explain`, and it is the oracle that the compiled function is held against. So it shares
nothing with the compiler beyond reading values and hashing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from proxy.evaluation.bucketing import bucket_trace, choose
from proxy.evaluation.dependencies import order
from proxy.evaluation.model import Condition, Flag, Segment
from proxy.evaluation.operators import PatternMatcher, predicate
from proxy.evaluation.results import Result, merged_metadata, selectable
from proxy.evaluation.selectors import select
from proxy.evaluation.text import text
from proxy.evaluation.users import evaluation_context, parse_json, plain

Trace: TypeAlias = dict[str, Any]
"""Plain JSON; a member that would be null is absent."""


def interpret(
    flags: Mapping[str, Flag],
    user: Mapping[str, Any],
    flag_keys: Sequence[str] = (),
    *,
    match: PatternMatcher,
) -> dict[str, Result]:
    """Give the results by flag key in evaluation order; a flag that no segment decides has none.

    No keys asks for all flags; what the asked flags depend on is returned too. Raises CycleError
    for a cycle that the asked keys reach.
    """
    results, _ = interpret_with_trace(flags, user, flag_keys, match=match)
    return results


def interpret_with_trace(
    flags: Mapping[str, Flag],
    user: Mapping[str, Any],
    flag_keys: Sequence[str] = (),
    *,
    match: PatternMatcher,
    bucketing: bool = False,
) -> tuple[dict[str, Result], dict[str, Trace]]:
    """Give the results as `interpret` does, and for each evaluated flag how it came to its own.

    A trace tells of every segment; those after the winner are tried against the results so far.
    With `bucketing` it also tells what was hashed and where that fell, where it was.
    """
    results: dict[str, Result] = {}
    traces: dict[str, Trace] = {}
    for key, result, trace in interpretations(
        flags, user, flag_keys, match=match, bucketing=bucketing
    ):
        traces[key] = trace
        if result is not None:
            results[key] = result
    return results, traces


def interpretations(
    flags: Mapping[str, Flag],
    user: Mapping[str, Any],
    flag_keys: Sequence[str] = (),
    *,
    match: PatternMatcher,
    bucketing: bool = False,
) -> Iterator[tuple[str, Result | None, Trace]]:
    """Give what `interpret_with_trace` gives one flag at a time: key, result and trace."""
    selectable_results: dict[str, Any] = {}
    target = {"context": evaluation_context(plain(user)), "result": selectable_results}
    for flag in order(flags, flag_keys, lambda flag: flag.dependencies):
        result, trace = _evaluate(flag, target, match)
        told = _with_bucketing(flag, trace, target) if bucketing else trace
        if result is not None:
            selectable_results[flag.key] = selectable(result)
        yield flag.key, result, told


def _evaluate(
    flag: Flag, target: Mapping[str, Any], match: PatternMatcher
) -> tuple[Result | None, Trace]:
    """Try the segments in order; the first that gives a variant the flag has decides."""
    result: Result | None = None
    matched_segment: Any = None
    steps: list[Trace] = []
    for index, segment in enumerate(flag.segments):
        step = _try_segment(segment, target, match)
        steps.append(step)
        if result is not None or not step["matched"]:
            continue
        # A variant that the flag lacks is an answer all the same; it gives nothing, the next may.
        matched_segment = step.get("segmentMetadata", {}).get("segmentName")
        variant = flag.variants.get(step["bucketVariant"])
        if variant is not None:
            result = Result(flag.key, variant, index, merged_metadata(flag, segment, variant))
    trace = {
        "flagKey": flag.key,
        "matched": result is not None,
        "matchedSegment": matched_segment,
        "steps": steps,
    }
    return result, _without_nulls(trace)


def _try_segment(segment: Segment, target: Mapping[str, Any], match: PatternMatcher) -> Trace:
    """Test the conditions; when they pass, let the bucket or the segment itself name a variant."""
    passed, conditions_tried = _try_conditions(segment, target, match)
    variant_key = bucketed_variant(segment, target) if passed else None
    return _without_nulls(
        {
            "segmentMetadata": {name: parse_json(value) for name, value in segment.metadata.items()}
            or None,
            "conditionsPassed": passed,
            "bucketed": variant_key is not None,
            "bucketVariant": variant_key,
            "conditionResult": conditions_tried,
            "matched": variant_key is not None,
        }
    )


def _try_conditions(
    segment: Segment, target: Mapping[str, Any], match: PatternMatcher
) -> tuple[bool, list[list[Trace]] | None]:
    """Pass if any inner list does; without conditions always, with an empty outer list never."""
    if segment.conditions is None:
        return True, None
    tried: list[list[Trace]] = []
    for conditions in segment.conditions:
        tried.append([])
        for condition in conditions:
            value = select(condition.selector, target)
            held = predicate(condition.op, condition.values, match)(value)
            tried[-1].append(_condition_trace(condition, value, held=held))
            if not held:
                break
        else:
            return True, tried
    return False, tried


def _with_bucketing(flag: Flag, trace: Trace, target: Mapping[str, Any]) -> Trace:
    """Add to each step whose conditions passed how its bucket chose."""
    for segment, step in zip(flag.segments, trace["steps"], strict=True):
        if segment.bucket is not None and step["conditionsPassed"]:
            value = text(select(segment.bucket.selector, target))
            step["bucketing"] = bucket_trace(segment.bucket, value)
    return trace


def bucketed_variant(segment: Segment, target: Mapping[str, Any]) -> str | None:
    """Give the variant key for a segment whose conditions passed: its bucket's, or its own."""
    if segment.bucket is None:
        return segment.variant
    value = text(select(segment.bucket.selector, target))
    return choose(segment.bucket, value, segment.variant)


def _condition_trace(condition: Condition, value: Any, *, held: bool) -> Trace:
    return _without_nulls(
        {
            "propValue": value,
            "condition": {
                "selector": list(condition.selector),
                "op": condition.op,
                "values": list(condition.repeated or condition.values),
            },
            "matched": held,
        }
    )


def _without_nulls(members: Trace) -> Trace:
    return {name: member for name, member in members.items() if member is not None}
