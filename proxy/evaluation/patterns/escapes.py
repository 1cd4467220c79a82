"""What a backslash says: a character, a set of characters, or a node of the tree."""

from __future__ import annotations

import unicodedata

from proxy.evaluation.patterns import properties
from proxy.evaluation.patterns.charset import LAST, CharSet, negate
from proxy.evaluation.patterns.folding import fold
from proxy.evaluation.patterns.scanner import DIGITS, LETTERS, Scanner
from proxy.evaluation.patterns.syntax import (
    Anchor,
    BackReference,
    Chars,
    Grapheme,
    LineBreak,
    Node,
)

_CONTROLS = {"a": 7, "e": 0x1B, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 9}
_PLAIN_PLACES: dict[str, Node] = {
    "A": Anchor("begin"),
    # Where the last match ended: there is none, so where the text begins.
    "G": Anchor("begin"),
    "z": Anchor("end"),
    "R": LineBreak(),
    "X": Grapheme(),
}
_HEX = frozenset(map(ord, "0123456789abcdefABCDEF"))
_OCTAL = frozenset(map(ord, "01234567"))


class Escapes(Scanner):
    """A scanner that reads escapes; it knows the groups opened so far."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.group_count = 0
        self.refers = False
        self.group_names: dict[str, int] = {}

    def escape_in_class(self, *, in_range: bool) -> int | CharSet:
        """Read an escape inside a class; `in_range` where a dash follows or precedes it."""
        letter = self._escape_letter()
        if letter == "v" and in_range:
            return 0x0B
        found = self._charset(letter)
        return found if found is not None else self._code_point(letter)

    def escape(self) -> Node:
        """Read an escape outside a class, the cursor on its backslash."""
        letter = self._escape_letter()
        found = self._charset(letter)
        if found is not None:
            return Chars(found)
        if letter in "123456789":
            return self._back_reference(int(letter))
        if letter == "k":
            return self._named_reference()
        return self._place(letter) or Chars(fold(self._code_point(letter), self.flags))

    def property_class(self) -> CharSet:
        r"""Read `\p...` or `\P...`, the cursor on the letter p."""
        complement = self.codes[self.cursor] == ord("P")
        braced = self.next() == ord("{")
        if not braced:
            self.unread()
        self.next()
        name = self._property_name() if braced else self._property_letter()
        found = properties.find(name, self.flags)
        if found is None:
            raise self.refuse(f"Unknown character property name {{{name}}}")
        return negate(found) if complement else found

    def group_name(self, first: int) -> str:
        """Read a group's name and the `>` after it."""
        if first not in LETTERS:
            raise self.refuse("capturing group name does not start with a Latin letter")
        name = ""
        code = first
        while code in LETTERS or code in DIGITS:
            name += chr(code)
            code = self.read()
        if code != ord(">"):
            raise self.refuse("named capturing group is missing trailing '>'")
        return name

    def _escape_letter(self) -> str:
        return chr(self.skip())

    def _charset(self, letter: str) -> CharSet | None:
        found = properties.predefined(letter.lower(), unicode="U" in self.flags)
        if found is None or letter in "NRX":
            return None
        return negate(found) if letter.isupper() else found

    def _code_point(self, letter: str) -> int:
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        reader = {
            "0": self._octal,
            "c": self._control,
            "u": self._unicode,
            "x": self._hexadecimal,
            "N": self._named_character,
        }.get(letter)
        if reader is not None:
            return reader()
        if letter in "123456789" or ord(letter) in LETTERS:
            raise self.refuse("Illegal/unsupported escape sequence")
        return ord(letter)

    def _place(self, letter: str) -> Node | None:
        match letter:
            case "Z":
                return Anchor("dollar unix" if self.has("d") else "dollar")
            case "B":
                return Anchor("no boundary unicode" if self.has("U") else "no boundary")
            case "b":
                self._refuse_grapheme_boundary()
                return Anchor("boundary unicode" if self.has("U") else "boundary")
        return _PLAIN_PLACES.get(letter)

    def _refuse_grapheme_boundary(self) -> None:
        if self.peek() == ord("{"):
            if self.skip() == ord("g"):
                raise self.refuse(r"\b{g} is not supported")
            self.cursor -= 2

    def _back_reference(self, number: int) -> BackReference:
        self.refers = True
        while (digit := self.peek()) in DIGITS:
            longer = number * 10 + digit - ord("0")
            if longer > self.group_count:
                break
            number = longer
            self.read()
        return BackReference(number, folds=self.has("i"))

    def _named_reference(self) -> BackReference:
        if self.read() != ord("<"):
            raise self.refuse("\\k is not followed by '<' for named capturing group")
        name = self.group_name(self.read())
        if name not in self.group_names:
            raise self.refuse(f"named capturing group <{name}> does not exist")
        self.refers = True
        return BackReference(self.group_names[name], folds=self.has("i"))

    def _octal(self) -> int:
        value = 0
        for place in range(3):
            digit = self.read()
            if digit not in _OCTAL or value * 8 + digit - ord("0") > 0o377:
                if not place:
                    raise self.refuse("Illegal octal escape sequence")
                self.unread()
                break
            value = value * 8 + digit - ord("0")
        return value

    def _control(self) -> int:
        if self.ended():
            raise self.refuse("Illegal control escape sequence")
        return self.read() ^ 64

    def _hexadecimal(self) -> int:
        first = self.read()
        if first in _HEX:
            second = self.read()
            if second in _HEX:
                return int(chr(first) + chr(second), 16)
        elif first == ord("{") and self.peek() in _HEX:
            return self._braced_hexadecimal()
        raise self.refuse("Illegal hexadecimal escape sequence")

    def _braced_hexadecimal(self) -> int:
        value = 0
        while (digit := self.read()) in _HEX:
            value = value * 16 + int(chr(digit), 16)
            if value > LAST:
                raise self.refuse("Hexadecimal codepoint is too big")
        if digit != ord("}"):
            raise self.refuse("Unclosed hexadecimal escape sequence")
        return value

    def _four_digits(self) -> int:
        value = 0
        for _ in range(4):
            digit = self.read()
            if digit not in _HEX:
                raise self.refuse("Illegal Unicode escape sequence")
            value = value * 16 + int(chr(digit), 16)
        return value

    def _unicode(self) -> int:
        value = self._four_digits()
        if 0xD800 <= value <= 0xDBFF:
            after = self.cursor
            if self.read() == ord("\\") and self.read() == ord("u"):
                low = self._four_digits()
                if 0xDC00 <= low <= 0xDFFF:
                    return 0x10000 + ((value - 0xD800) << 10) + low - 0xDC00
            self.cursor = after
        return value

    def _named_character(self) -> int:
        if self.read() != ord("{"):
            raise self.refuse("Illegal character name escape sequence")
        start = self.cursor
        while self.read() != ord("}"):
            if self.ended():
                raise self.refuse("Unclosed character name escape sequence")
        name = "".join(map(chr, self.codes[start : self.cursor - 1]))
        try:
            return ord(unicodedata.lookup(name.strip()))
        except (KeyError, TypeError):
            raise self.refuse(f"Unknown character name [{name}]") from None

    def _property_letter(self) -> str:
        letter = chr(self.codes[self.cursor])
        self.read()
        return letter

    def _property_name(self) -> str:
        start = self.cursor
        # The end of the pattern acts as a closing brace, which is then found to be missing.
        self.codes[self.length] = ord("}")
        try:
            while self.read() != ord("}"):
                pass
        finally:
            self.codes[self.length] = 0
        if self.cursor > self.length:
            raise self.refuse("Unclosed character family")
        if self.cursor == start + 1:
            raise self.refuse("Empty character family")
        return "".join(map(chr, self.codes[start : self.cursor - 1]))
