"""Sets of web origins: exact ones, every subdomain or port of one, or any. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, final

ANY: Final = "*"
NONE: Final = "none"
NULL: Final = "null"
"""What pages say that have no origin of their own: sandboxed frames, files."""
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
FORM: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::([0-9]{1,5}|\*))?"
)
LONGEST: Final = 512


class Origin(NamedTuple):
    """An origin, or a pattern of some: every subdomain, or every port (`*`)."""

    scheme: str
    host: str
    port: str
    with_subdomains: bool

    def takes(self, other: Origin) -> bool:
        """Tell whether a single origin is one of those that this is the pattern of."""
        if other.scheme != self.scheme or self.port not in (ANY, other.port):
            return False
        if self.with_subdomains:
            return other.host.endswith("." + self.host)
        return other.host == self.host


def read(text: str) -> Origin | None:
    """Return the origin that a text is, None if it is none."""
    found = FORM.fullmatch(text.lower()) if len(text) <= LONGEST else None
    if found is None:
        return None
    scheme, wild, host, port = found.groups()
    return Origin(scheme, host, port or DEFAULT_PORTS.get(scheme, ""), wild is not None)


@final
class Origins:
    """A set of origins; `texts` are as settings have checked them, `*` is any, `none` is none.

    `is_any` tells that every origin is one of them; `only` is the one if there is but one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        given = dict.fromkeys(texts)
        self.is_any = ANY in given
        self._takes_null = NULL in given
        self._patterns = [origin for text in given if (origin := read(text)) is not None]
        is_one = len(given) == len(self._patterns) == 1
        exact = is_one and not self._patterns[0].with_subdomains and self._patterns[0].port != ANY
        self.only = next(iter(given)).lower() if exact else None

    def __bool__(self) -> bool:
        """Tell whether there is any origin in it."""
        return self.is_any or self._takes_null or bool(self._patterns)

    def __contains__(self, text: str) -> bool:
        """Tell whether the origin that a browser names is one of them."""
        if self.is_any:
            return True
        if text == NULL:
            return self._takes_null
        origin = read(text)
        if origin is None or origin.with_subdomains or origin.port == ANY:
            return False
        return any(pattern.takes(origin) for pattern in self._patterns)
