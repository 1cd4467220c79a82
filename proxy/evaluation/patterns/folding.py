"""Ignoring case as Java does: ASCII letters only with flag i, simple mappings with i and u."""

from __future__ import annotations

import functools
from collections.abc import Collection

from proxy.evaluation.patterns.charset import LAST, Spans, points, spans

_LAST_CASED = 0x1E943
"""The last code point with a case mapping, as of Unicode 15; scanned once, on first need."""


def upper(code: int) -> int:
    """Return the simple upper-case mapping (one code point to one)."""
    char = chr(code)
    mapped = char.upper()
    if len(mapped) > 1:
        mapped = char.title()
    return ord(mapped) if len(mapped) == 1 else code


def lower(code: int) -> int:
    """Return the simple lower-case mapping (one code point to one)."""
    # Only U+0130 has a longer full mapping; its simple one is its first letter.
    return ord(chr(code).lower()[0])


@functools.cache
def _folded_alike() -> dict[int, tuple[int, ...]]:
    """Map each folded code point to those that fold to it, where that is not itself alone."""
    alike: dict[int, list[int]] = {}
    for code in range(_LAST_CASED + 1):
        char = chr(code)
        if char.upper() != char or char.lower() != char:
            alike.setdefault(lower(upper(code)), []).append(code)
    return {folded: tuple(codes) for folded, codes in alike.items()}


def fold(code: int, flags: Collection[str]) -> Spans:
    """Return the set that a single character stands for under the flags."""
    if "i" not in flags:
        return points(code)
    if code < 0x80 and not chr(code).isalpha():
        return points(code)
    if "u" in flags:
        folded = lower(upper(code))
        return points(code, folded, *_folded_alike().get(folded, ()))
    return points(code, *_ascii_cases(code))


def fold_in_class(code: int, flags: Collection[str]) -> Spans:
    """Return the set that a character of a class stands for; Java forgets U+1E9E for U+00DF."""
    return points(code) if code == 0xDF else fold(code, flags)


def fold_range(first: int, last: int, flags: Collection[str]) -> Spans:
    """Return the set that a range of a class stands for under the flags."""
    pairs = [(first, last)]
    if "i" in flags and "u" in flags:
        for codes in _folded_alike().values():
            pairs += [
                (code, code)
                for code in codes
                if first <= upper(code) <= last or first <= lower(upper(code)) <= last
            ]
    elif "i" in flags:
        for low, high, shift in ((0x41, 0x5A, 32), (0x61, 0x7A, -32)):
            start, stop = max(first, low), min(last, high)
            if start <= stop:
                pairs.append((start + shift, stop + shift))
    return spans((low, min(high, LAST)) for low, high in pairs)


def _ascii_cases(code: int) -> tuple[int, ...]:
    if code >= 0x80:
        return ()
    return (ord(chr(code).upper()), ord(chr(code).lower()))
