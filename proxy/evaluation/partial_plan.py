"""Partial evaluation made ready: what does not depend on the user is written once, beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from proxy.evaluation.bucketing import choose
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.model import Bucket, Flag, Segment
from proxy.evaluation.operators import PatternMatcher, predicate
from proxy.evaluation.partial import ALWAYS, NEVER, bucket_members, condition_members
from proxy.evaluation.results import variant_members
from proxy.evaluation.selectors import select
from proxy.evaluation.text import text
from proxy.evaluation.users import evaluation_context

Selector: TypeAlias = tuple[str, ...]
Selections: TypeAlias = dict[Selector, Any]


class _Question(NamedTuple):
    """A condition: what it asks of the value once that is known, and its JSON until then."""

    selector: Selector
    holds: Callable[[Any], bool]
    written: bytes


class _Choice(NamedTuple):
    """A bucket: its JSON with the default variant until its value is known, else one variant's."""

    bucket: Bucket
    default: str | None
    waiting: bytes
    chosen: Mapping[str | None, bytes]


class _SegmentPlan(NamedTuple):
    """A segment; `alternatives` None takes in everybody, `opening` is its JSON up to them."""

    opening: bytes
    alternatives: tuple[tuple[_Question, ...], ...] | None
    choice: _Choice | None
    closing: bytes


class FlagPlan:
    """One flag config, ready to be resolved against many users; it never changes."""

    __slots__ = ("_opening", "_segments")

    def __init__(self, flag: Flag, match: PatternMatcher) -> None:
        members = {
            "key": flag.key,
            "dependencies": flag.dependencies or None,
            "metadata": flag.metadata or None,
            "variants": {
                key: variant_members(variant, variant.metadata)
                for key, variant in flag.variants.items()
            },
        }
        given = {name: member for name, member in members.items() if member is not None}
        self._opening = msgspec.json.encode(given)[:-1] + b',"segments":['
        self._segments = [_segment_plan(segment, match) for segment in flag.segments]

    def write(self, out: list[bytes], target: Mapping[str, Any], known: Selections) -> None:
        """Add the flag's JSON; `known` remembers what was selected from the target."""
        out.append(self._opening)
        comma = b""
        for plan in self._segments:
            out.append(comma)
            _write_segment(plan, out, target, known)
            comma = b","
        out.append(b"]}")


def encode(plans: Iterable[FlagPlan], user: Mapping[str, Any]) -> bytes:
    """Return as JSON the array that `partially_evaluate` gives for the flags of the plans."""
    target = {"context": evaluation_context(user), "result": {}}
    known: Selections = {}
    out: list[bytes] = []
    comma = b"["
    for plan in plans:
        out.append(comma)
        plan.write(out, target, known)
        comma = b","
    return b"".join(out) + b"]" if out else b"[]"


def _segment_plan(segment: Segment, match: PatternMatcher) -> _SegmentPlan:
    opening = b'{"metadata":' + msgspec.json.encode(segment.metadata) if segment.metadata else b"{"
    alternatives = None
    if segment.conditions is not None:
        opening += b',"conditions":' if segment.metadata else b'"conditions":'
        alternatives = tuple(
            tuple(
                _Question(
                    condition.selector,
                    predicate(condition.op, condition.values, match),
                    msgspec.json.encode(condition_members(condition)),
                )
                for condition in conditions
            )
            for conditions in segment.conditions
        )
    comma = b"," if len(opening) > 1 else b""
    choice = None if segment.bucket is None else _choice(segment.bucket, segment.variant, comma)
    return _SegmentPlan(opening, alternatives, choice, _ending(segment.variant, comma))


def _choice(bucket: Bucket, default: str | None, comma: bytes) -> _Choice:
    names = {default} | {
        distribution.variant
        for allocation in bucket.allocations
        for distribution in allocation.distributions
    }
    written = b'"bucket":' + msgspec.json.encode(bucket_members(bucket))
    return _Choice(
        bucket=bucket,
        default=default,
        waiting=comma + written + _ending(default, b","),
        chosen={name: _ending(name, comma) for name in names},
    )


def _ending(variant: str | None, comma: bytes) -> bytes:
    return b"}" if variant is None else comma + b'"variant":' + msgspec.json.encode(variant) + b"}"


def _write_segment(
    plan: _SegmentPlan, out: list[bytes], target: Mapping[str, Any], known: Selections
) -> None:
    out.append(plan.opening)
    if plan.alternatives is not None:
        out.append(
            b"[%b]" % b",".join([_remaining(tests, target, known) for tests in plan.alternatives])
        )
    choice = plan.choice
    if choice is None:
        out.append(plan.closing)
        return
    value = _selection(choice.bucket.selector, target, known)
    if value is None:
        out.append(choice.waiting)
    else:
        out.append(choice.chosen[choose(choice.bucket, text(value), choice.default)])


def _remaining(
    questions: tuple[_Question, ...], target: Mapping[str, Any], known: Selections
) -> bytes:
    """Write the conditions on unknown values; a known one that fails makes the whole list false."""
    unknown: list[bytes] = []
    for selector, holds, written in questions:
        value = _selection(selector, target, known)
        if value is None:
            unknown.append(written)
        elif not holds(value):
            return _NEVER
    return b"[%b]" % b",".join(unknown) if unknown else _ALWAYS


def _selection(selector: Selector, target: Mapping[str, Any], known: Selections) -> Any:
    try:
        return known[selector]
    except KeyError:
        value = select(selector, target)
        if value.__class__ is Memberships and value.are_null():
            value = None
        known[selector] = value
        return value


_ALWAYS = msgspec.json.encode([condition_members(ALWAYS)])
_NEVER = msgspec.json.encode([condition_members(NEVER)])
