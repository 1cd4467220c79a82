"""Bounds on what a client sends: inflated size, nesting and number of values."""

from __future__ import annotations

import zlib
from typing import Any

from proxy.api.messages import refuse

GZIP = 16 + zlib.MAX_WBITS
MOST_MEMBERS = 64
"""Each member costs a copy of all that follows it: a body of empty ones would take seconds."""
MOST_PARTS = 50_000
"""A few kilobytes of gzip hold millions of values, which take a second to read."""


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """Return the body without its content encoding; at most `most` bytes are ever inflated.

    Raises BadRequest: 413 beyond the bound, 400 for broken gzip, 415 for an unknown encoding.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        refuse("Unsupported content encoding", 415)
    parts: list[bytes] = []
    room = most
    while body and len(parts) < MOST_MEMBERS:
        part, body = _member(body, room)
        parts.append(part)
        room -= len(part)
    if body:
        refuse("Too many gzip members", 413)
    return b"".join(parts)


def _member(data: bytes, room: int) -> tuple[bytes, bytes]:
    """Inflate one gzip member; return it and what follows it."""
    inflater = zlib.decompressobj(GZIP)
    try:
        part = inflater.decompress(data, room + 1)
    except zlib.error:
        refuse("Invalid gzip body")
    if len(part) > room:
        refuse("Body too large", 413)
    if not inflater.eof:
        refuse("Invalid gzip body")
    return part, inflater.unused_data


def has_too_many_parts(text: bytes) -> bool:
    """Tell whether JSON may hold more values than anybody needs, without reading it."""
    if len(text) <= MOST_PARTS:
        return False
    return text.count(b",") + text.count(b"[") + text.count(b"{") > MOST_PARTS


def is_too_deep(text: bytes, value: Any, most: int) -> bool:
    """Tell whether the JSON value that `text` holds is nested deeper than `most`."""
    if text.count(b"{") + text.count(b"[") <= most:
        return False
    level = [value]
    for _ in range(most):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
