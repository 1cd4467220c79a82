"""The body of a cohort, read in pieces: any order of keys, strict JSON, bounded memory."""

from __future__ import annotations

import json  # noqa: TID251  msgspec refuses half a surrogate pair, which a body may spell
import re
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol, final

import msgspec

from proxy.errors import BodyBroken

PIECE_BYTES = 1 << 20
MOST_VALUE_BYTES = 1 << 20
MOST_ID_BYTES = 1 << 16
MOST_FIELDS = 10_000
MOST_OTHER_BYTES = 4 << 20
"""Of the names and values beside the members, which are read far more slowly than members."""
MEMBERS = "memberIds"
TOO_LONG = f"a member id is longer than {MOST_ID_BYTES} bytes"
NOT_JSON = "the body is not the JSON it should be"
CUT = "the body is cut"
KNOWN = frozenset({"cohortId", "groupType", "lastModified", "size"})

SPACE = re.compile(rb"[ \t\n\r]*+")
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
SCALAR = re.compile(rb"[^ \t\n\r,:\[\]{}\"]++")
TOKEN = re.compile(rb'[\[\]{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?+)', re.DOTALL)
ESCAPED = re.compile(rb"\\.", re.DOTALL)
LAST = re.compile(rb'"[ \t\n\r]*+\]')
BETWEEN = re.compile(rb'"([ \t\n\r]*+,[ \t\n\r]*+)"')
IDS = msgspec.json.Decoder(list[str])


class Readable(Protocol):
    """What gives text: at most so many bytes, none at its end."""

    def read(self, most: int, /) -> bytes:
        """Return the next bytes."""


@final
class Body:
    """A cohort's body: `members` yields its member ids, after which `fields` has the rest.

    `fields` holds what was found of KNOWN; `repeated` tells that one of them came twice (the last
    counts); `listed` that memberIds was there and no null. Never more than a few pieces of text
    are held.
    """

    def __init__(self, text: Readable, piece: int = PIECE_BYTES) -> None:
        self._text = text
        self._piece = piece
        self._buffer = b""
        self._at = 0
        self._named = False
        self._other_bytes = self._others = 0
        self.fields: dict[str, Any] = {}
        self.repeated = False
        self.listed = False

    def members(self) -> Iterator[list[bytes]]:
        """Yield the member ids as UTF-8, some at a time; raises BodyBroken and what `read` does.

        Half a surrogate pair is encoded as if it were a character.
        """
        self._expect(b"{")
        more = self._peek() != b"}"
        if not more:
            self._at += 1
        while more:
            name = self._name()
            self._expect(b":")
            if name == MEMBERS:
                yield from self._list()
            else:
                self._field(name)
            more = self._more(b"}")
        if self._peek():
            raise BodyBroken("text follows the body's end")

    def _name(self) -> str:
        if self._peek() != b'"':
            self._refuse()
        self._others += 1
        if self._others > MOST_FIELDS:
            raise BodyBroken(f"the body has more than {MOST_FIELDS} fields")
        name = self._value()
        assert isinstance(name, str)
        return name

    def _field(self, name: str) -> None:
        value = self._value()
        if name in KNOWN:
            self.repeated = self.repeated or name in self.fields
            self.fields[name] = value

    def _list(self) -> Iterator[list[bytes]]:
        if self._named:
            raise BodyBroken("the body lists its members twice")
        self._named = True
        if self._peek() != b"[":
            if self._value() is not None:
                raise BodyBroken("memberIds is no list")
            return
        self.listed = True
        self._at += 1
        if self._peek() == b"]":
            self._at += 1
            return
        more = True
        while more:
            yield member_ids(self._members_piece())
            more = self._more(b"]")

    def _members_piece(self) -> bytes:
        """Return the text of the next members, up to a closing quote: as many as are at hand."""
        if self._peek() != b'"':
            raise BodyBroken("a member id is no text")
        while True:
            start = self._at
            # Escapes hide quotes: they are masked where there are any, at the same length.
            text = self._buffer[start:] if start else self._buffer
            masked = ESCAPED.sub(b"__", text) if b"\\" in text else text
            end = _end_of_members(masked)
            if end:
                self._at = start + end
                return text[:end]
            # An escape has at most six bytes for each byte of the id.
            if len(text) > 6 * MOST_ID_BYTES + 2:
                raise BodyBroken(TOO_LONG)
            self._need()

    def _more(self, closing: bytes) -> bool:
        """Step over a comma (True) or over `closing` (False)."""
        found = self._peek()
        if found not in (b",", closing) or not found:
            self._refuse()
        self._at += 1
        return found == b","

    def _expect(self, mark: bytes) -> None:
        if self._peek() != mark:
            self._refuse()
        self._at += 1

    def _value(self) -> Any:
        """Read one value that is no member list, of at most MOST_VALUE_BYTES."""
        first = self._peek()
        while True:
            end = _end_of_value(first, self._buffer, self._at)
            if (end or len(self._buffer)) - self._at > MOST_VALUE_BYTES:
                raise BodyBroken(f"a value is longer than {MOST_VALUE_BYTES} bytes")
            if end:
                break
            self._need()
        self._other_bytes += end - self._at
        if self._other_bytes > MOST_OTHER_BYTES:
            raise BodyBroken(f"the body has more than {MOST_OTHER_BYTES} bytes beside its members")
        value = _decode(self._buffer[self._at : end])
        self._at = end
        return value

    def _peek(self) -> bytes:
        """Return the next byte that is no white space, none at the end of the text."""
        while True:
            space = SPACE.match(self._buffer, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            self._buffer, self._at = self._text.read(self._piece), 0
            if not self._buffer:
                return b""

    def _need(self) -> None:
        more = self._text.read(self._piece)
        if not more:
            raise BodyBroken(CUT)
        self._buffer = self._buffer[self._at :] + more
        self._at = 0

    def _refuse(self) -> NoReturn:
        raise BodyBroken(NOT_JSON if self._peek() else CUT)


def _end_of_members(masked: bytes) -> int:
    """Return where the last whole member of the list ends in `masked`, 0 when none does.

    A quote closes a text when an even number of quotes ends with it.
    """
    if b"]" in masked:
        quotes = counted = 0
        for match in LAST.finditer(masked):
            end = match.start() + 1
            quotes += masked.count(b'"', counted, end)
            counted = end
            if quotes % 2 == 0:
                return end
    last = masked.rfind(b'"')
    if masked.count(b'"') % 2:
        last = masked.rfind(b'"', 0, last)
    return last + 1


def _end_of_value(first: bytes, text: bytes, at: int) -> int:
    """Return where the value at `at` ends, 0 when that cannot be seen yet; raises BodyBroken."""
    if first == b'"':
        string = STRING.match(text, at)
        return string.end() if string else 0
    if first in (b"[", b"{"):
        depth = 0
        for token in TOKEN.finditer(text, at):
            mark = token[0]
            if mark in (b"[", b"{"):
                depth += 1
            elif mark in (b"]", b"}"):
                depth -= 1
                if depth == 0:
                    return token.end()
            elif not token[1]:
                return 0
        return 0
    scalar = SCALAR.match(text, at)
    if not scalar:
        raise BodyBroken(NOT_JSON if first else CUT)
    return scalar.end() if scalar.end() < len(text) else 0


def member_ids(piece: bytes) -> list[bytes]:
    """Return the ids of `piece`, JSON texts between commas, as UTF-8; raises BodyBroken."""
    whole = b"[" + piece + b"]"
    try:
        names = IDS.decode(whole)
    except msgspec.ValidationError:
        raise BodyBroken("a member id is no text") from None
    except ValueError:
        names = _decode(whole)
        if not all(isinstance(name, str) for name in names):
            raise BodyBroken("a member id is no text") from None
    if b"\\" not in piece:
        # Without escapes the raw texts are the ids. The first separator is tried for all: since
        # `","` inside a text hides the two separators round it, equal counts prove the split.
        between = BETWEEN.search(piece)
        ids = piece[1:-1].split(between[0] if between else b'","')
        if len(ids) == len(names):
            return _bounded(ids)
    return _bounded([name.encode("utf-8", "surrogatepass") for name in names])


def _bounded(ids: list[bytes]) -> list[bytes]:
    if max(map(len, ids)) > MOST_ID_BYTES:
        raise BodyBroken(TOO_LONG)
    return ids


def _decode(text: bytes) -> Any:
    """Return the JSON value `text`; raises BodyBroken for what a strict reader refuses."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BodyBroken(NOT_JSON) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
