"""The tree as RE2 reads it, for patterns that are regular languages.

As only the whole text counts, an anchor where nothing can stand before it (or behind it) says
nothing new; greed does not matter; and groups need not capture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from proxy.evaluation.patterns.charset import (
    EVERYTHING,
    NOTHING,
    Both,
    CharSet,
    Negated,
    Property,
    Span,
    Spans,
    Union,
    complement,
    shorter_negated,
)
from proxy.evaluation.patterns.syntax import (
    Anchor,
    Chars,
    Choice,
    Group,
    LineBreak,
    Node,
    Repeat,
    Sequence,
)

_MAX_COUNT = 1000
"""The highest count RE2 takes."""
_LINE_BREAK = r"(?:\r\n|[\n\x0b\f\r\x{85}\x{2028}\x{2029}])"
_DOLLARS = ("dollar", "dollar unix", "dollar lines", "dollar unix lines", "end")
_CARETS = ("caret", "caret unix", "begin")


class NotRegular(Exception):
    """The pattern is beyond RE2."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A pattern in RE2's words; with `ascii_only` it is right about ASCII texts only."""

    text: str
    ascii_only: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Whether nothing is consumed before here, nothing after, and surely something after."""

    first: bool
    last: bool
    more: bool = False


def write_linear(node: Node) -> Linear | None:
    """Return the pattern for RE2, None when RE2 cannot say it."""
    writer = _Writer()
    try:
        text = writer.write(node, _Place(first=True, last=True))
    except NotRegular:
        return None
    return Linear(text, writer.ascii_only)


def literal(node: Node) -> str | None:
    """Return the only text that the pattern matches, None unless it is plainly one."""
    items = node.items if isinstance(node, Sequence) else (node,)
    text = ""
    for item in items:
        if not (isinstance(item, Chars) and isinstance(item.charset, Spans)):
            return None
        if len(item.charset.spans) != 1 or item.charset.spans[0][0] != item.charset.spans[0][1]:
            return None
        text += chr(item.charset.spans[0][0])
    return text


class _Writer:
    def __init__(self) -> None:
        self.ascii_only = False

    def write(self, node: Node, place: _Place) -> str:  # noqa: PLR0911  one for each kind
        match node:
            case Chars(charset):
                return write_charset(charset)
            case Sequence(items):
                return self._sequence(items, place)
            case Choice(options):
                return "(?:" + "|".join(self.write(each, place) for each in options) + ")"
            case Group(body):
                return f"(?:{self.write(body, place)})"
            case Repeat():
                return self._repeat(node, place)
            case LineBreak():
                return _LINE_BREAK
            case Anchor(kind):
                return self._anchor(kind, place)
        raise NotRegular

    def _sequence(self, items: tuple[Node, ...], place: _Place) -> str:
        firsts = []
        first = place.first
        for item in items:
            firsts.append(first)
            first = first and is_empty(item)
        last, more = place.last, place.more
        texts = []
        for item, first in zip(reversed(items), reversed(firsts), strict=True):
            texts.append(self.write(item, _Place(first, last, more)))
            last = last and is_empty(item)
            more = more or consumes(item)
        return "".join(reversed(texts))

    def _repeat(self, node: Repeat, place: _Place) -> str:
        if node.greed == "possessive" or (node.settled and has_line_break(node.body)):
            raise NotRegular
        low, high = node.low, node.high
        if max(low, high or 0) > _MAX_COUNT:
            raise NotRegular
        if (low, high) not in ((0, 1), (1, 1)):
            place = replace(place, first=False, last=False)
        body = f"(?:{self.write(node.body, place)})"
        match low, high:
            case 0, 1:
                return body + "?"
            case 0, None:
                return body + "*"
            case 1, None:
                return body + "+"
        return body + f"{{{low},{'' if high is None else high}}}"

    def _anchor(self, kind: str, place: _Place) -> str:
        if kind in ("boundary", "no boundary"):
            # RE2's word characters are ASCII; JDK 17 counts all letters and digits here.
            self.ascii_only = True
            return r"\b" if kind == "boundary" else r"\B"
        if kind in _DOLLARS and place.last:
            return ""
        if kind in _CARETS and place.first and (kind == "begin" or place.more):
            return ""
        if kind == "begin":
            return r"\A"
        if kind == "end":
            return r"\z"
        raise NotRegular


def is_empty(node: Node) -> bool:
    """Tell whether the node never consumes anything, as far as its kind tells."""
    match node:
        case Anchor():
            return True
        case Sequence(items):
            return all(map(is_empty, items))
        case Choice(options):
            return all(map(is_empty, options))
        case Group(body) | Repeat(body=body):
            return is_empty(body)
    return False


def consumes(node: Node) -> bool:
    """Tell whether the node surely consumes something."""
    match node:
        case Chars() | LineBreak():
            return True
        case Sequence(items):
            return any(map(consumes, items))
        case Choice(options):
            return all(map(consumes, options))
        case Group(body):
            return consumes(body)
        case Repeat(body, low):
            return low > 0 and consumes(body)
    return False


def has_line_break(node: Node) -> bool:
    r"""Tell whether a line break (`\R`) is anywhere in the node."""
    match node:
        case LineBreak():
            return True
        case Sequence(parts) | Choice(parts):
            return any(map(has_line_break, parts))
        case Group(body) | Repeat(body=body):
            return has_line_break(body)
    return False


@functools.lru_cache(1024)
def write_charset(charset: CharSet) -> str:
    """Return the set in RE2's words; raises NotRegular when RE2 cannot say it."""
    if isinstance(charset, Union):
        return "(?:" + "|".join(map(write_charset, charset.parts)) + ")"
    if isinstance(charset, Negated):
        return f"[^{_inside(charset.part)}]"
    if isinstance(charset, Spans):
        return _spans_class(charset)
    return f"[{_inside(charset)}]"


def _spans_class(charset: Spans) -> str:
    if charset == EVERYTHING:
        return "(?s:.)"
    if charset == NOTHING:
        return r"[^\x{0}-\x{10ffff}]"
    (low, high), *_ = charset.spans
    if low == high and len(charset.spans) == 1 and low < 0x80 and chr(low).isalnum():
        return chr(low)
    if shorter_negated(charset):
        return f"[^{_inside(complement(charset))}]"
    return f"[{_inside(charset)}]"


def _inside(charset: CharSet) -> str:
    match charset:
        case Spans(pairs):
            return "".join(map(_span, pairs))
        case Property(linear) if linear is not None:
            return linear
        case Union(parts):
            return "".join(map(_inside, parts))
        case Negated(Property(linear)) if linear is not None:
            return linear.replace("p", "P", 1)
        case Both() | Property() | Negated():
            raise NotRegular


def _span(span: Span) -> str:
    low, high = span
    if 0xD800 <= low <= 0xDFFF and high <= 0xDFFF:
        # RE2 works on UTF-8, which has no surrogates.
        raise NotRegular
    return rf"\x{{{low:x}}}" if low == high else rf"\x{{{low:x}}}-\x{{{high:x}}}"
