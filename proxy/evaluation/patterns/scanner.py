"""The cursor that walks over a pattern, with Java's rules for comments, quotes and surrogates."""

from __future__ import annotations

from proxy.evaluation.patterns.syntax import MAX_DEPTH, PatternRefused

SPACES = frozenset(map(ord, " \t\n\x0b\f\r"))
LINE_ENDS = frozenset(map(ord, "\n\r\x85\u2028\u2029"))
DIGITS = frozenset(map(ord, "0123456789"))
LETTERS = frozenset(map(ord, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
_BACKSLASH = ord("\\")
_HASH = ord("#")


def join_surrogates(text: str) -> str:
    """Return the text with each pair of surrogates as the one code point it stands for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text


def unquote(codes: list[int]) -> list[int]:
    r"""Return the pattern with what stands between `\Q` and `\E` escaped one by one."""
    at = 0
    while at + 1 < len(codes) and codes[at : at + 2] != [_BACKSLASH, ord("Q")]:
        at += 2 if codes[at] == _BACKSLASH else 1
    if at + 1 >= len(codes):
        return codes
    out = codes[:at]
    quoted, begins = False, False
    while at < len(codes):
        code, following = codes[at], codes[at + 1] if at + 1 < len(codes) else 0
        at += 1
        if code == _BACKSLASH and following == ord("E" if quoted else "Q"):
            at += 1
            quoted = begins = not quoted
            continue
        if code == _BACKSLASH and quoted:
            out += (_BACKSLASH, _BACKSLASH)
        elif code == _BACKSLASH:
            out += codes[at - 1 : at + 1]
            at += 1
        else:
            out += _quoted(code, begins=begins) if quoted else (code,)
        begins = False
    return out


def _quoted(code: int, *, begins: bool) -> list[int]:
    if code >= 0x80 or code in LETTERS:
        return [code]
    if code in DIGITS:
        # As hexadecimal where an escape before the quote could swallow the digit.
        return [_BACKSLASH, ord("x"), ord("3"), code] if begins else [code]
    return [_BACKSLASH, code]


class Scanner:
    """A cursor over the code points of a pattern, and the flags in force at it.

    Past the end stand two zeros, as a pattern may ask two code points ahead. In comments mode
    (flag x) `peek`, `next`, `read` and `accept` pass over white space and comments.
    """

    def __init__(self, pattern: str) -> None:
        self.codes = unquote(list(map(ord, join_surrogates(pattern))))
        self.length = len(self.codes)
        self.codes += (0, 0)
        self.cursor = 0
        self.flags: frozenset[str] = frozenset()
        self.depth = 0

    def has(self, flag: str) -> bool:
        """Tell whether the flag of this letter is in force."""
        return flag in self.flags

    def ended(self) -> bool:
        """Tell whether the cursor is past the pattern."""
        return self.cursor >= self.length

    def descend(self) -> None:
        """Note one more level of nesting; raises PatternRefused when it is too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise PatternRefused(f"nested deeper than {MAX_DEPTH} levels")

    def ascend(self) -> None:
        """Note one level of nesting less."""
        self.depth -= 1

    def peek(self) -> int:
        """Return the code point at the cursor."""
        if self.has("x"):
            self._pass_comments()
        return self.codes[self.cursor]

    def next(self) -> int:
        """Advance by one and return the code point then at the cursor."""
        self.cursor += 1
        return self.peek()

    def next_escaped(self) -> int:
        """Advance by one and return the code point then at the cursor, white space too."""
        self.cursor += 1
        return self.codes[self.cursor]

    def read(self) -> int:
        """Return the code point at the cursor and advance past it."""
        code = self.peek()
        self.cursor += 1
        return code

    def skip(self) -> int:
        """Return the code point after the cursor and advance past it."""
        self.cursor += 2
        return self.codes[self.cursor - 1]

    def unread(self) -> None:
        """Step back by one."""
        self.cursor -= 1

    def refuse(self, reason: str) -> PatternRefused:
        """Return the error to raise: the reason and the place."""
        return PatternRefused(f"{reason} near index {max(0, min(self.cursor, self.length) - 1)}")

    def _pass_comments(self) -> None:
        codes = self.codes
        ends = frozenset((ord("\n"),)) if self.has("d") else LINE_ENDS
        while codes[self.cursor] in SPACES or codes[self.cursor] == _HASH:
            if codes[self.cursor] == _HASH:
                while self.cursor < self.length and codes[self.cursor] not in ends:
                    self.cursor += 1
            else:
                self.cursor += 1
