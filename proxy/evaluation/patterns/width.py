"""How many states of a pattern may be alive at once: the linear engine's cost of one byte.

A list of a thousand words is wide only where it begins, a counted repetition after `.*` is as
wide as its count. An estimate to bound time by, not an exact number.
"""

from __future__ import annotations

import functools

from proxy.evaluation.patterns.charset import Both, CharSet, Negated, Property, Spans, Union
from proxy.evaluation.patterns.syntax import (
    Atomic,
    Chars,
    Choice,
    Group,
    LineBreak,
    Node,
    Repeat,
    Sequence,
)

_PROPERTY = 100
"""Byte ranges of a Unicode property, roughly."""


def width(node: Node) -> int:
    """Return the states that may be alive at once when a match begins at the text's start."""
    match node:
        case Sequence(items):
            return _sequence_width(items)
        case Choice(options):
            return sum(map(width, options))
        case Group(body):
            return width(body)
        case Repeat(body) if _length(body) is not None:
            return width(body)
    return size(node)


def size(node: Node) -> int:
    """Return the states of the node, a repeated body counted as often as it is copied."""
    match node:
        case Chars(charset):
            return _ranges(charset)
        case Sequence(parts) | Choice(parts):
            return sum(map(size, parts))
        case Group(body) | Atomic(body):
            return size(body)
        case Repeat(body, low, high):
            return size(body) * max(1, low if high is None else high)
    return 3


def _sequence_width(items: tuple[Node, ...]) -> int:
    widest = 1
    for at, item in enumerate(items):
        if _length(item) is None:
            return max(widest, width(item) + sum(map(size, items[at + 1 :])))
        widest = max(widest, width(item))
    return widest


def _length(node: Node) -> int | None:  # noqa: PLR0911  one for each kind
    """Return the length in characters of every match, None when it varies."""
    match node:
        case Chars():
            return 1
        case Sequence(items):
            lengths = list(map(_length, items))
            return None if None in lengths else sum(filter(None, lengths))
        case Choice(options):
            first, *others = map(_length, options)
            return first if all(other == first for other in others) else None
        case Group(body) | Atomic(body):
            return _length(body)
        case Repeat(body, low, high) if low == high:
            length = _length(body)
            return None if length is None else length * low
        case LineBreak() | Repeat():
            return None
    return 0


@functools.lru_cache(1024)
def _ranges(charset: CharSet) -> int:
    match charset:
        case Spans(pairs):
            return len(pairs) + sum(3 for _, high in pairs if high >= 0x80)
        case Property():
            return _PROPERTY
        case Union(parts):
            return sum(map(_ranges, parts))
        case Both(left, right):
            return _ranges(left) + _ranges(right)
        case Negated(part):
            return _ranges(part)
