"""Ignoring case as Java does: ASCII letters only with flag i, simple mappings with i and u."""

from __future__ import annotations

import bisect
import functools
import itertools

from proxy.evaluation.patterns.charset import LAST, Spans, points, spans

# Where all code points with a case mapping are, with room for Unicode to come.
_CASED = (
    (0, 0x2FFF),
    (0xA000, 0xABFF),
    (0xF900, 0xFFFF),
    (0x10000, 0x11FFF),
    (0x16000, 0x16FFF),
    (0x1E000, 0x1EFFF),
)


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
    for code in itertools.chain.from_iterable(range(low, high + 1) for low, high in _CASED):
        char = chr(code)
        if char.upper() != char or char.lower() != char:
            alike.setdefault(lower(upper(code)), []).append(code)
    return {folded: tuple(codes) for folded, codes in alike.items()}


@functools.cache
def _mappings() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return (upper, code) and (folded, code) for each code point with a case, sorted."""
    codes = list(itertools.chain.from_iterable(_folded_alike().values()))
    uppers = sorted((upper(code), code) for code in codes)
    return uppers, sorted((lower(mapped), code) for mapped, code in uppers)


@functools.lru_cache(1024)
def fold(code: int, flags: frozenset[str]) -> Spans:
    """Return the set that a single character stands for under the flags."""
    if "i" not in flags:
        return points(code)
    if code < 0x80 and not chr(code).isalpha():
        return points(code)
    if "u" in flags:
        folded = lower(upper(code))
        return points(code, folded, *_folded_alike().get(folded, ()))
    return points(code, *_ascii_cases(code))


def fold_in_class(code: int, flags: frozenset[str]) -> Spans:
    """Return the set that a character of a class stands for; Java forgets U+1E9E for U+00DF."""
    return points(code) if code == 0xDF else fold(code, flags)


def fold_range(first: int, last: int, flags: frozenset[str]) -> Spans:
    """Return the set that a range of a class stands for under the flags."""
    pairs = [(first, last)]
    if "i" in flags and "u" in flags:
        for mappings in _mappings():
            start = bisect.bisect_left(mappings, (first, 0))
            stop = bisect.bisect_right(mappings, (last, LAST))
            pairs += [(code, code) for _, code in mappings[start:stop] if not first <= code <= last]
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
