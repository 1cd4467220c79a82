"""Whether two bodies of flag configs mean the same."""

from __future__ import annotations

import msgspec

EMPTY = frozenset({b"[]"})
BLANK = b" \t\r\n"


def is_empty(body: bytes) -> bool:
    """Tell whether the body is an array without flags."""
    return len(body) < 100 and body.translate(None, BLANK) in EMPTY


def same_flags(one: bytes, other: bytes) -> bool:
    """Tell whether both hold the same flags, in whatever order and spelling.

    Two hosts need not write the same flags with the same bytes. One flag is read at a time, so
    that a worker thread never keeps the interpreter for long. False when either is no array.
    """
    if one == other:
        return True
    try:
        return _canonical(one) == _canonical(other)
    except (ValueError, RecursionError):
        return False


def _canonical(body: bytes) -> list[bytes]:
    flags = msgspec.json.decode(body, type=list[msgspec.Raw])
    return sorted(
        msgspec.json.encode(msgspec.json.decode(flag), order="deterministic") for flag in flags
    )
