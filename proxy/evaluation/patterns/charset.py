"""Sets of code points: spans where they are known, properties by name where they are not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LAST = 0x10FFFF
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spans:
    """The code points of some inclusive spans: sorted, disjoint, not adjoining."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Property:
    """A Unicode property in the words of both engines; `linear` None where RE2 lacks it."""

    linear: str | None
    backtracking: str


@dataclass(frozen=True, slots=True)
class Union:
    """What is in any of the parts."""

    parts: tuple[CharSet, ...]


@dataclass(frozen=True, slots=True)
class Both:
    """What is in both parts."""

    left: CharSet
    right: CharSet


@dataclass(frozen=True, slots=True)
class Negated:
    """What is not in the part."""

    part: CharSet


CharSet = Spans | Property | Union | Both | Negated


def spans(pairs: Iterable[Span]) -> Spans:
    """Return the set of all code points in the inclusive pairs, which may overlap."""
    merged: list[Span] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return Spans(tuple(merged))


def points(*code_points: int) -> Spans:
    """Return the set of these code points."""
    return spans((point, point) for point in code_points)


def chars(text: str) -> Spans:
    """Return the set of the characters of `text`."""
    return points(*map(ord, text))


EVERYTHING = Spans(((0, LAST),))
NOTHING = Spans(())


def union(*parts: CharSet) -> CharSet:
    """Return what is in any part; known spans are merged into one."""
    known: list[Span] = []
    others: dict[CharSet, None] = {}
    for part in parts:
        for each in part.parts if isinstance(part, Union) else (part,):
            if isinstance(each, Spans):
                known += each.spans
            else:
                others[each] = None
    merged = spans(known)
    if not others:
        return merged
    if known:
        others[merged] = None
    return Union(tuple(others)) if len(others) > 1 else next(iter(others))


def intersect(left: CharSet, right: CharSet) -> CharSet:
    """Return what is in both parts."""
    if left == right:
        return left
    if not (isinstance(left, Spans) and isinstance(right, Spans)):
        return Both(left, right)
    common = []
    a, b = list(left.spans), list(right.spans)
    while a and b:
        low, high = max(a[-1][0], b[-1][0]), min(a[-1][1], b[-1][1])
        if low <= high:
            common.append((low, high))
        (a if a[-1][0] >= b[-1][0] else b).pop()
    return spans(common)


def shorter_negated(charset: Spans) -> bool:
    """Tell whether the set is spans up to the last code point, so its negation has fewer."""
    return charset.spans[-1:] != () and charset.spans[-1][1] == LAST


def negate(part: CharSet) -> CharSet:
    """Return what is not in the part."""
    if isinstance(part, Negated):
        return part.part
    return complement(part) if isinstance(part, Spans) else Negated(part)


def complement(part: Spans) -> Spans:
    """Return all other code points."""
    gaps = []
    start = 0
    for low, high in part.spans:
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return Spans(tuple(gaps))
