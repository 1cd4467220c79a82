"""Values that conditions take apart: arrays, and texts that spell an array."""

from __future__ import annotations

import json  # noqa: TID251  its reader of one string takes raw control characters and lone surrogates
import re
from collections.abc import Iterable
from typing import Any

from proxy.evaluation.numbers import java_double, read_number
from proxy.evaluation.text import text
from proxy.evaluation.users import parse_json

_STRINGS = json.JSONDecoder(strict=False)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"-?[0-9]++(?:[eE][+-]?[0-9]++)?+")
_BOOLEANS = {"TRUE": True, "FALSE": False}

_SPACE = " \t\n\r"
_TOKEN = re.compile(
    r"[ \t\n\r]*+"
    r'(?:([,:\[\]{}])|("[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\x00-\x20,:{}\[\]"\\]++)|.)',
    re.DOTALL,
)
_MARK, _SCALAR = 1, 2

# What may come next.
_FIRST, _NEXT, _COLON, _VALUE, _AFTER, _NOTHING = range(6)

LENIENT_LIMIT = 1 << 14
"""Characters that the lenient reader takes on; it is slow, and what it reads comes from clients."""


def members(value: Any) -> tuple[str, ...] | None:
    """Give the text forms of a list's elements, nulls and repeats dropped; None for no list.

    A text whose first character is `[` is a list when it can be read as an array: as strict JSON at
    any length, leniently up to `LENIENT_LIMIT`.
    """
    if isinstance(value, list):
        return _texts(value)
    if not isinstance(value, str) or value[:1] != "[":
        return None
    elements = _strict(value)
    if elements is None and len(value) <= LENIENT_LIMIT:
        elements = read_array(value)
    return None if elements is None else _texts(elements)


def _strict(written: str) -> list[Any] | None:
    """Read the common case fast; what it takes, the lenient reader takes alike."""
    try:
        elements: list[Any] = parse_json(written.encode())
    except ValueError:
        return None
    return elements


def _texts(elements: Iterable[Any]) -> tuple[str, ...]:
    texts = dict.fromkeys(
        element if isinstance(element, str) else text(element) for element in elements
    )
    return tuple(element for element in texts if element is not None)


def read_array(written: str) -> list[Any] | None:
    """Read an array leniently: JSON, and also unquoted words as values and member names.

    A word is null, a boolean in any case, a number, or else null. None when the text is anything
    but one array. Never raises; any depth of nesting will do.
    """
    reader = _Reader()
    try:
        for found in _TOKEN.finditer(written.rstrip(_SPACE)):
            kind = found.lastindex
            if kind == _MARK:
                reader.mark(found[_MARK])
            elif kind == _SCALAR:
                reader.scalar(found[_SCALAR])
            else:
                return None
    except ValueError:
        return None
    return reader.whole()


class _Reader:
    """Takes tokens and builds the array; what is still open lies on a stack of its own.

    Raises ValueError for a token that cannot stand where it stands.
    """

    def __init__(self) -> None:
        self._root: list[Any] | None = None
        self._open: list[list[Any] | dict[str, Any]] = []
        self._name = ""
        self._may_come = _VALUE

    def whole(self) -> list[Any] | None:
        """Give the array if it has been closed."""
        return self._root if self._may_come == _NOTHING else None

    def mark(self, mark: str) -> None:
        """Take a bracket, a brace, a comma or a colon."""
        if mark == ",":
            self._turn(_AFTER, _NEXT)
        elif mark == ":":
            self._turn(_COLON, _VALUE)
        elif mark == "[":
            self._begin([])
        elif mark == "{":
            self._begin({})
        else:
            self._close(list if mark == "]" else dict)

    def scalar(self, token: str) -> None:
        """Take a string or a word, as a value or as a member's name."""
        if self._may_come <= _NEXT and isinstance(self._open[-1], dict):
            self._name = _string(token) if token[0] == '"' else token
            self._may_come = _COLON
        else:
            self._put(_string(token) if token[0] == '"' else _word(token))
            self._may_come = _AFTER

    def _turn(self, expected: int, may_come: int) -> None:
        if self._may_come != expected:
            raise ValueError
        self._may_come = may_come

    def _put(self, value: Any) -> None:
        """Add a value to the innermost open array or object."""
        if not self._open:
            raise ValueError
        into = self._open[-1]
        if isinstance(into, dict):
            if self._may_come != _VALUE:
                raise ValueError
            into[self._name] = value
        elif self._may_come <= _NEXT:
            into.append(value)
        else:
            raise ValueError

    def _begin(self, value: list[Any] | dict[str, Any]) -> None:
        if self._root is None and isinstance(value, list):
            self._root = value
        else:
            self._put(value)
        self._open.append(value)
        self._may_come = _FIRST

    def _close(self, kind: type) -> None:
        if self._may_come not in (_FIRST, _AFTER) or not isinstance(self._open.pop(), kind):
            raise ValueError
        self._may_come = _AFTER if self._open else _NOTHING


def _string(token: str) -> str:
    if "\\" not in token:
        return token[1:-1]
    plain: str = _STRINGS.decode(token)
    if _SURROGATE.search(plain):  # two halves, one escaped and one raw, are one character
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return plain


def _word(token: str) -> Any:
    if _NUMBER.fullmatch(token):
        return read_number(token)
    boolean = _BOOLEANS.get(token.upper()) if len(token) <= 5 else None
    return java_double(token) if boolean is None else boolean
