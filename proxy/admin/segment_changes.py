"""What differs between the segments of a flag before and after, in words for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from proxy.admin.describing import named_segments
from proxy.admin.meaning import (
    bucket_meaning,
    condition_meaning,
    conditions_meaning,
    json_meaning,
)
from proxy.admin.shares import HASHES, percent, shares
from proxy.admin.wording import condition_text, name_text, selector_text
from proxy.evaluation.model import Flag, Segment

MOST_SHOWN: Final = 2
Named = dict[tuple[str, int], Segment]
"""Segments by name; those of one name are numbered."""


def segment_changes(old: Flag, new: Flag) -> Iterator[str]:
    """Say which segments came, went, changed places, or changed; segments are told by name."""
    before, after = _named(old), _named(new)
    for name in after:
        if name not in before:
            yield f"segment added: {_quoted(name)}"
    for name in before:
        if name not in after:
            yield f"segment removed: {_quoted(name)}"
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield "order of segments changed"
    for name, segment in after.items():
        earlier = before.get(name)
        if earlier is not None:
            yield from _differences(_quoted(name), earlier, segment)


def _named(flag: Flag) -> Named:
    found: Named = {}
    numbers = Counter[str]()
    for name, segment in named_segments(flag):
        numbers[name] += 1
        found[name, numbers[name]] = segment
    return found


def _quoted(name: tuple[str, int]) -> str:
    text, number = name
    return f"“{text}”" if number == 1 else f"“{text}” ({number})"


def _differences(name: str, old: Segment, new: Segment) -> Iterator[str]:
    if conditions_meaning(old) != conditions_meaning(new):
        yield f"conditions of segment {name} changed{_conditions(old, new)}"
    if (bucket_meaning(old), old.variant) != (bucket_meaning(new), new.variant):
        yield f"segment {name}: {_dealing(old, new)}"
    if json_meaning(old.metadata) != json_meaning(new.metadata):
        yield f"metadata of segment {name} changed"


def _conditions(old: Segment, new: Segment) -> str:
    """Name the conditions that came and went, where they are few."""
    before = {condition_meaning(one): one for inner in old.conditions or () for one in inner}
    after = {condition_meaning(one): one for inner in new.conditions or () for one in inner}
    came = [condition_text(one) for known, one in after.items() if known not in before]
    went = [condition_text(one) for known, one in before.items() if known not in after]
    if not came + went or max(len(came), len(went)) > MOST_SHOWN:
        return ""
    texts = [f"now {name_text(text)}" for text in came]
    return ": " + "; ".join([*texts, *(f"no longer {name_text(text)}" for text in went)])


def _dealing(old: Segment, new: Segment) -> str:
    """Say how the choice of a variant changed."""
    texts = list(_shares(_dealt(old), _dealt(new)))
    before, after = old.bucket, new.bucket
    if before is not None and after is not None:
        if before.selector != after.selector:
            by = f"{selector_text(before.selector)} → {selector_text(after.selector)}"
            texts.append(f"bucketed by {by}")
        if before.salt != after.salt:
            texts.append("new salt, so users are dealt anew")
    return ", ".join(texts) or "who gets what changed"


def _shares(old: dict[str, int], new: dict[str, int]) -> Iterator[str]:
    for variant in dict.fromkeys([*new, *old]):
        before, after = percent(old.get(variant, 0)), percent(new.get(variant, 0))
        if before != after:
            yield f"{name_text(variant)} {before:g} % → {after:g} %"


def _dealt(segment: Segment) -> dict[str, int]:
    """Return how many of all hashes each variant gets, the segment's own among them.

    Nothing is known of a bucket with too many ranges.
    """
    dealt = {} if segment.bucket is None else shares(segment.bucket)
    if dealt is None:
        return {}
    rest = HASHES - sum(dealt.values())
    if segment.variant is not None and rest:
        dealt[segment.variant] = dealt.get(segment.variant, 0) + rest
    return dealt
