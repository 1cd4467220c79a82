"""From Java's pattern to the tree, refusing what java.util.regex (JDK 17) refuses."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.evaluation.patterns import properties
from proxy.evaluation.patterns.charclass import Classes
from proxy.evaluation.patterns.charset import EVERYTHING
from proxy.evaluation.patterns.folding import fold
from proxy.evaluation.patterns.lengths import is_settled, reach_of_look_behind
from proxy.evaluation.patterns.scanner import DIGITS
from proxy.evaluation.patterns.syntax import (
    EMPTY,
    Anchor,
    AnchorKind,
    Atomic,
    Chars,
    Choice,
    Greed,
    Group,
    Look,
    Node,
    Repeat,
    Sequence,
)

_MAX_COUNT = 0x7FFFFFFF
_SPECIAL = frozenset(map(ord, "[\\^$.?*+{"))
_QUANTIFIERS = frozenset(map(ord, "?*+{"))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A pattern's tree, how many groups capture, and whether any is referred to."""

    tree: Node
    group_count: int
    refers: bool


def parse(pattern: str) -> Parsed:
    """Return the tree of a pattern; raises PatternRefused with Java's reason."""
    parser = _Parser(pattern)
    try:
        tree = parser.choice()
    except IndexError:
        raise parser.refuse("Unexpected end of pattern") from None
    if parser.cursor != parser.length:
        if parser.peek() == ord(")"):
            raise parser.refuse("Unmatched closing ')'")
        raise parser.refuse("Unescaped trailing backslash")
    return Parsed(tree, parser.group_count, parser.refers)


class _Parser(Classes):
    def choice(self) -> Node:
        options = [self._sequence()]
        while self.peek() == ord("|"):
            self.next()
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while True:
            code = self.peek()
            if code in (ord("|"), ord(")")) or (code == 0 and self.ended()):
                break
            if code == ord("("):
                group = self._group()
                if group is not None:
                    items.append(group)
            else:
                items.append(self._quantified(self._item(code), is_group=False))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _item(self, code: int) -> Node:
        if code not in _SPECIAL:
            self.next()
            return Chars(fold(code, self.flags))
        match chr(code):
            case "[":
                return Chars(self.char_class())
            case "\\":
                if self.codes[self.cursor + 1] in (ord("p"), ord("P")):
                    self.next_escaped()
                    return Chars(self.property_class())
                return self.escape()
            case "^" | "$" | ".":
                self.next()
                return self._dot() if code == ord(".") else self._line_anchor(code)
            case "?" | "*" | "+":
                self.next()
                raise self.refuse(f"Dangling meta character '{chr(code)}'")
        # A brace: Java reads nothing here, and the repetition of that nothing next.
        return EMPTY

    def _dot(self) -> Node:
        if self.has("s"):
            return Chars(EVERYTHING)
        return Chars(properties.NOT_NEWLINE if self.has("d") else properties.NOT_LINE_END)

    def _line_anchor(self, code: int) -> Node:
        kind: AnchorKind
        if code == ord("^"):
            kind = "caret unix" if self.has("d") else "caret"
            return Anchor(kind if self.has("m") else "begin")
        if self.has("m"):
            kind = "dollar unix lines" if self.has("d") else "dollar lines"
        else:
            kind = "dollar unix" if self.has("d") else "dollar"
        return Anchor(kind)

    def _group(self) -> Node | None:
        self.descend()
        flags = self.flags
        special = self.next() == ord("?")
        opened = self._special_group(self.skip()) if special else self._capture()
        if opened is None:
            self.ascend()
            return None
        if self.read() != ord(")"):
            raise self.refuse("Unclosed group")
        self.flags = flags
        self.ascend()
        return self._quantified(opened, is_group=isinstance(opened, Group))

    def _special_group(self, code: int) -> Node | None:
        match chr(code):
            case ":":
                return Group(self.choice(), None)
            case "=" | "!":
                return Look(self.choice(), ahead=True, negated=code == ord("!"))
            case ">":
                return Atomic(self.choice())
            case "<":
                return self._behind_or_named(self.read())
            case "$" | "@":
                raise self.refuse("Unknown group type")
        self.unread()
        return self._flag_group()

    def _flag_group(self) -> Node | None:
        code = self._read_flags("imsducxU", added=True)
        if code == ord("-"):
            self.next()
            self._read_flags("imsducxU", added=False)
        code = self.read()
        if code == ord(")"):
            return None
        if code != ord(":"):
            raise self.refuse("Unknown inline modifier")
        return Group(self.choice(), None)

    def _read_flags(self, known: str, *, added: bool) -> int:
        code = self.peek()
        while code and chr(code) in known:
            letters = frozenset("Uu" if code == ord("U") else chr(code))
            self.flags = self.flags | letters if added else self.flags - letters
            code = self.next()
        return code

    def _capture(self, name: str | None = None) -> Node:
        self.group_count += 1
        number = self.group_count
        if name is not None:
            self.group_names[name] = number
        return Group(self.choice(), number)

    def _behind_or_named(self, code: int) -> Node:
        if code not in (ord("="), ord("!")):
            name = self.group_name(code)
            if name in self.group_names:
                raise self.refuse(f"Named capturing group <{name}> is already defined")
            return self._capture(name)
        body = self.choice()
        reach = reach_of_look_behind(body)
        if reach is None:
            raise self.refuse("Look-behind group does not have an obvious maximum length")
        if not reach:
            # The lengths overflowed in Java, and it never looks anywhere.
            body = Chars(properties.NOTHING)
        return Look(body, ahead=False, negated=code == ord("!"))

    def _quantified(self, body: Node, *, is_group: bool) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return body
        low, high = bounds
        greed = self._greed()
        settled = (
            not is_group or greed == "possessive" or ((low, high) != (0, 1) and is_settled(body))
        )
        return Repeat(body, low, high, greed, settled)

    def _bounds(self) -> tuple[int, int | None] | None:
        """Read a quantifier; the cursor then stands on its last character."""
        code = self.peek()
        if code not in _QUANTIFIERS:
            return None
        match chr(code):
            case "?":
                return 0, 1
            case "*":
                return 0, None
            case "+":
                return 1, None
        return self._counted()

    def _counted(self) -> tuple[int, int | None]:
        code = self.skip()
        if code not in DIGITS:
            raise self.refuse("Illegal repetition")
        low, code = self._count(code)
        high: int | None = low
        if code == ord(","):
            code = self.read()
            if code == ord("}"):
                high = None
            else:
                high, code = self._count(code)
        if code != ord("}"):
            raise self.refuse("Unclosed counted closure")
        if high is not None and high < low:
            raise self.refuse("Illegal repetition range")
        self.unread()
        return low, (None if high == _MAX_COUNT else high)

    def _count(self, code: int) -> tuple[int, int]:
        count = 0
        while code in DIGITS:
            count = count * 10 + code - ord("0")
            if count > _MAX_COUNT:
                raise self.refuse("Illegal repetition range")
            code = self.read()
        return count, code

    def _greed(self) -> Greed:
        code = self.next()
        if code == ord("?"):
            self.next()
            return "lazy"
        if code == ord("+"):
            self.next()
            return "possessive"
        return "greedy"
