"""Texts that must never be seen: keys, passwords, URIs that carry one."""

from __future__ import annotations

import hashlib
import hmac
from typing import final


@final
class Secret:
    """A text that shows only a short hash of itself in `repr`, `str` and formatting."""

    __slots__ = ("_hash", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def reveal(self) -> str:
        """Return the text itself; call it only where it goes on the wire."""
        return self._text

    @property
    def label(self) -> str:
        """A short stable hash, safe in logs, metric labels and status pages."""
        return self._hash

    def matches(self, other: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
        )

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Secret({self._hash})"

    __str__ = __repr__
