"""JSON by its brackets alone: a look at what no decoder takes in whole."""

from __future__ import annotations

import re

SPACE = b" \t\n\r"
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]|[\]}]|,', re.DOTALL)


def nested_deeper(raw: bytes, levels: int) -> bool:
    """Tell whether arrays and objects lie in one another on more than so many levels."""
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    depth = 0
    for found in _MARK.finditer(raw):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > levels:
                return True
        elif mark in (b"]", b"}"):
            depth -= 1
    return False


def parts_of(plain: bytes) -> list[bytes]:
    """Split an array or object at its own commas; raises ValueError for unbalanced brackets."""
    parts: list[bytes] = []
    depth, start = 0, 1
    for found in _MARK.finditer(plain):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                parts.append(plain[start : found.start()].strip(SPACE))
                if found.end() < len(plain):
                    raise ValueError("something follows the end")
                return [] if parts == [b""] else parts
        elif mark == b"," and depth == 1:
            parts.append(plain[start : found.start()].strip(SPACE))
            start = found.end()
    raise ValueError("Input data was truncated")
