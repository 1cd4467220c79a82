"""What makes two assignments the same: the canonical text, its Java hash, the insert_id."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import mul
from typing import Final

import mmh3

MASK: Final = 0xFFFFFFFF
DAY_MILLIS: Final = 86_400_000
LONGEST_TEXT: Final = 1024
CHUNK: Final = 256
_POWERS: Final = [pow(31, exponent, MASK + 1) for exponent in range(CHUNK + 1)]
_UTF_16: Final = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"


def identity_prefix(user_id: str | None, device_id: str | None) -> str:
    """Return the canonical text's beginning; a missing id is the word `null`, as officially."""
    user = "null" if user_id is None else user_id.strip()
    device = "null" if device_id is None else device_id.strip()
    return f"{user} {device} "


def java_hash(text: str) -> int:
    """Return Java's `hashCode` of `text`: signed 32 bits over its UTF-16 code units."""
    return signed(partial_hash(text)[0])


def partial_hash(text: str) -> tuple[int, int]:
    """Return the unsigned hash of `text` and the factor by which it moves what stands before it."""
    value, factor = 0, 1
    units = _code_units(text)
    for start in range(0, len(units), CHUNK):
        chunk = units[start : start + CHUNK]
        by = _POWERS[len(chunk)]
        value = (value * by + sum(map(mul, chunk, _POWERS[len(chunk) - 1 :: -1]))) & MASK
        factor = factor * by & MASK
    return value, factor


def joined_hash(parts: Iterable[tuple[int, int]]) -> int:
    """Return the Java hash of the joined texts whose partial hashes these are."""
    value = 0
    for part, by in parts:
        value = (value * by + part) & MASK
    return signed(value)


def joined_partial(parts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the partial hash of the joined texts whose partial hashes these are."""
    value, factor = 0, 1
    for part, by in parts:
        value = (value * by + part) & MASK
        factor = factor * by & MASK
    return value, factor


def signed(value: int) -> int:
    """Read 32 bits as a signed number."""
    return value - (MASK + 1) if value > MASK >> 1 else value


def insert_id(user_id: str | None, device_id: str | None, text_hash: int, at_millis: int) -> str:
    """Return the official proxy's insert_id: untrimmed ids, hash of the canonical text, UTC day.

    Ids too long for upstream to keep are replaced by a hash of themselves.
    """
    user = "null" if user_id is None else user_id
    device = "null" if device_id is None else device_id
    ids = f"{user} {device}"
    if len(ids) > LONGEST_TEXT - 24:
        ids = f"{mmh3.hash128(ids.encode('utf-8', 'surrogatepass')):032x}"
    return f"{ids} {text_hash} {at_millis // DAY_MILLIS}"


def _code_units(text: str) -> memoryview | bytes:
    if text.isascii():
        return text.encode()
    return memoryview(text.encode(_UTF_16, "surrogatepass")).cast("H")
