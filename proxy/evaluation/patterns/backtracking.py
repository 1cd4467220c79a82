"""The tree as the `regex` package (V1) reads it, for what RE2 cannot say."""

from __future__ import annotations

import functools

from proxy.evaluation.patterns.charset import (
    EVERYTHING,
    NOTHING,
    Both,
    CharSet,
    Negated,
    Property,
    Spans,
    complement,
    shorter_negated,
)
from proxy.evaluation.patterns.charset import Union as UnionSet
from proxy.evaluation.patterns.linear import has_line_break
from proxy.evaluation.patterns.syntax import (
    Anchor,
    AnchorKind,
    Atomic,
    BackReference,
    Chars,
    Choice,
    Grapheme,
    Group,
    LineBreak,
    Look,
    Node,
    PatternRefused,
    Repeat,
    Sequence,
)

MAX_WEIGHT = 10_000
"""The longest pattern written out, counting what repeats as often as it must repeat.

The engine copies a body for each time it must match, so the counts multiply: without this a
pattern of thirty characters takes all memory.
"""

_SINGLE_BREAKS = r"\u000a\u000d\u0085\u2028\u2029"
_LONE_BREAKS = r"\u000d\u0085\u2028\u2029"
_NEVER = "(?!)"
_SHORT_COUNTS: dict[tuple[int, int | None], str] = {(0, 1): "?", (0, None): "*", (1, None): "+"}


def _boundary(inside: str, base: str) -> str:
    """Return the place between a word and none.

    A combining mark belongs to the word when, marks aside, a letter or digit precedes it.
    """
    before = rf"(?<=[{inside}]|[{base}]\p{{Mn}}+)"
    after = rf"(?:(?=[{inside}])|(?<=[{base}]\p{{Mn}}*)(?=\p{{Mn}}))"
    return rf"(?:{before}(?!{after})|(?!{before}){after})"


_BOUNDARY = _boundary(r"\p{L}\p{Nd}_", r"\p{L}\p{Nd}")
_UNICODE_BOUNDARY = _boundary(r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d", r"\p{L}\p{Nd}")
_ANCHORS: dict[AnchorKind, str] = {
    "begin": r"\A",
    "end": r"\Z",
    "caret": r"(?:\A|(?<=[\u000a\u0085\u2028\u2029])|(?<=\u000d)(?!\u000a))(?!\Z)",
    "caret unix": r"(?:\A|(?<=\u000a))(?!\Z)",
    "dollar": rf"(?:\Z|(?=\u000d\u000a\Z)|(?=[{_LONE_BREAKS}]\Z)|(?<!\u000d)(?=\u000a\Z))",
    "dollar unix": r"(?=\u000a?\Z)",
    "dollar lines": rf"(?:\Z|(?=[{_LONE_BREAKS}])|(?<!\u000d)(?=\u000a))",
    "dollar unix lines": r"(?:\Z|(?=\u000a))",
    "boundary": _BOUNDARY,
    "no boundary": f"(?!{_BOUNDARY})",
    "boundary unicode": _UNICODE_BOUNDARY,
    "no boundary unicode": f"(?!{_UNICODE_BOUNDARY})",
}


def write_backtracking(node: Node, group_count: int) -> str:
    """Return the pattern for `regex`; raises PatternRefused when it would grow too large."""
    return _Writer(group_count).write(node, 1)


class _Writer:
    def __init__(self, group_count: int) -> None:
        self._group_count = group_count
        self._weight = 0

    def write(self, node: Node, times: int) -> str:  # noqa: PLR0911  one for each kind
        """Return the node's text; `times` is how often the engine will copy it."""
        match node:
            case Sequence(items):
                return "".join(self.write(item, times) for item in items)
            case Choice(options):
                return "(?:" + "|".join(self.write(each, times) for each in options) + ")"
            case Group(body, number):
                opening = "(?:" if number is None or not self._group_count else "("
                return self._counted(opening, times) + self.write(body, times) + ")"
            case Atomic(body):
                return self._counted("(?>", times) + self.write(body, times) + ")"
            case Look(body, ahead, negated):
                opening = f"(?{'' if ahead else '<'}{'!' if negated else '='}"
                return self._counted(opening, times) + self.write(body, times) + ")"
            case Repeat():
                return self._repeat(node, times)
        return self._counted(self._leaf(node), times)

    def _counted(self, text: str, times: int) -> str:
        self._add(len(text), times)
        return text

    def _add(self, length: int, times: int) -> None:
        self._weight += length * times
        if self._weight > MAX_WEIGHT:
            raise PatternRefused("too large for the backtracking engine")

    def _repeat(self, node: Repeat, times: int) -> str:
        # What must match comes first as copies, and once more in a loop for what may follow.
        copies = node.low + 2 if node.low > 1 else node.low + 1
        body = self.write(node.body, times * copies)
        if node.settled and (node.greed == "possessive" or has_line_break(node.body)):
            body = f"(?>{body})"
        elif not isinstance(node.body, Chars | Group):
            body = f"(?:{body})"
        mark = {"greedy": "", "lazy": "?", "possessive": "+"}[node.greed]
        high = "" if node.high is None else node.high
        counts = _SHORT_COUNTS.get((node.low, node.high), f"{{{node.low},{high}}}")
        # In a group of its own, so that what follows cannot be taken for a part of it.
        self._add(len(counts) + 6, times)
        return f"(?:{body}{counts}{mark})"

    def _leaf(self, node: Node) -> str:
        match node:
            case Chars(charset):
                return write_charset(charset)
            case Anchor(kind):
                return _ANCHORS[kind]
            case LineBreak():
                return rf"(?:\u000d\u000a|[\u000b\u000c{_SINGLE_BREAKS}])"
            case Grapheme():
                return r"\X"
        assert isinstance(node, BackReference), node
        if node.number > self._group_count:
            return _NEVER
        return rf"(?i-f:\g<{node.number}>)" if node.folds else rf"(?:\g<{node.number}>)"


@functools.lru_cache(1024)
def write_charset(charset: CharSet) -> str:
    """Return the set as a class in brackets."""
    if charset == NOTHING:
        return _NEVER
    if charset == EVERYTHING:
        return "(?s:.)"
    return _class(charset)


def _class(charset: CharSet) -> str:
    if isinstance(charset, Spans):
        return _spans_class(charset)
    match charset:
        case Property(backtracking=name):
            return f"[{name}]"
        case UnionSet(parts):
            return "[" + "".join(map(_class, parts)) + "]"
        case Both(left, right):
            return f"[{_class(left)}&&{_class(right)}]"
        case Negated(part):
            return f"[^{_class(part)}]"


def _spans_class(charset: Spans) -> str:
    if charset in (EVERYTHING, NOTHING):
        return f"[{'' if charset == EVERYTHING else '^'}\\u0000-\\U0010ffff]"
    (low, high), *_ = charset.spans
    if low == high and len(charset.spans) == 1 and low < 0x80 and chr(low).isalnum():
        return chr(low)
    if shorter_negated(charset):
        return "[^" + "".join(map(_span, complement(charset).spans)) + "]"
    return "[" + "".join(map(_span, charset.spans)) + "]"


def _span(span: tuple[int, int]) -> str:
    low, high = span
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _code(code: int) -> str:
    if code < 0x80 and chr(code).isalnum():
        return chr(code)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
