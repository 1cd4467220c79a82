"""Random patterns over all of Java's syntax, some of them broken, with texts they may match."""

import random

from tests.evaluation.patterns.oracle import Pair

CHARS = "aabbcAB1_-. é\n"
CLASSES = (
    *(r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\h", r"\v", r"\H", r"\V", r"\pN", r"\p{L}"),
    *(r"\p{Lu}", r"\P{L}", r"\p{Alpha}", r"\p{Punct}", r"\p{IsLatin}", r"\p{javaLowerCase}"),
    *(r"\p{IsAlphabetic}", r"\p{InGreek}", r"\p{IsUppercase}", r"\p{gc=Nd}"),
)
CHARACTERS = (r"\t", r"\n", r"\.", r"\-", r"\x41", r"\x{e9}", r"\u0061", r"\0101", r"\cA")
ESCAPES = CLASSES + CHARACTERS
ANCHORS = ("^", "$", r"\b", r"\B", r"\A", r"\z", r"\Z", r"\G")
RANGES = ("a-c", "A-Z", "b-é", "0-9", "a-b", "!-~", "a-")
ODD_MEMBERS = ("&", "^", "-", "[:alpha:]", r"\Qa]\E")
RIGHT_SIDES = ("ab", "^a", r"\w", "a-z")
COUNTS = ("?", "*", "+", "{2}", "{1,2}", "{0,1}", "{2,}", "{0}", "{1}")
GREEDS = ("", "", "", "?", "+")
SPANS = ("i", "s", "m", "iu", "x", "d", "-i", "i-s", "ms", "U", "md")
SWITCHES = ("i", "s", "m", "iu", "x", "-i", "d", "u")
TYPOS = "()[]{}*+?\\^$|&-,:<>!=QEa1 #"
TEXTS = (*"aabbcAB1_-. éÉ\n\rαK٣", "\r\n", "\u0301", "😀", "\u2028")


class Wild:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.groups = 0
        self.names: list[str] = []

    def pairs(self, count: int, texts_each: int = 6) -> list[Pair]:
        pairs: list[Pair] = []
        while len(pairs) < count:
            pattern = self.pattern()
            pairs += [Pair(pattern, self.text(pattern)) for _ in range(texts_each)]
        return pairs

    def text(self, pattern: str) -> str:
        if self.random.random() < 0.2:
            return "".join(char for char in pattern if char in CHARS)[:8]
        length = self.random.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8))
        return "".join(self.random.choice(TEXTS) for _ in range(length))

    def pattern(self) -> str:
        self.groups = 0
        self.names = []
        pattern = self.choice(self.random.randint(0, 3))
        if self.random.random() < 0.15:
            pattern = f"(?{self.random.choice(SPANS)}){pattern}"
        return self.broken(pattern) if pattern and self.random.random() < 0.12 else pattern

    def broken(self, pattern: str) -> str:
        at = self.random.randrange(len(pattern))
        kind = self.random.random()
        if kind < 0.5:
            return pattern[:at] + pattern[at + 1 :]
        if kind < 0.8:
            return pattern[:at] + self.random.choice(TYPOS) + pattern[at:]
        return pattern[:at] + pattern[at : at + 2][::-1] + pattern[at + 2 :]

    def choice(self, depth: int) -> str:
        options = self.random.choice((1, 1, 1, 1, 2, 2, 3))
        return "|".join(self.sequence(depth) for _ in range(options))

    def sequence(self, depth: int) -> str:
        items = self.random.choice((0, 1, 1, 2, 2, 3, 4))
        return "".join(self.item(depth) + self.quantifier() for _ in range(items))

    def quantifier(self) -> str:
        if self.random.random() < 0.7:
            return ""
        return self.random.choice(COUNTS) + self.random.choice(GREEDS)

    def item(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.45:
            return self.character()
        if kind < 0.52:
            return "."
        if kind < 0.62:
            return self.random.choice(ESCAPES)
        if kind < 0.70:
            return self.char_class(2)
        if kind < 0.74:
            return self.random.choice(ANCHORS)
        if kind < 0.76:
            return self.random.choice((r"\R", r"\X", r"\Qa.b\E", r"\Q*\E", "😀"))
        if kind < 0.80:
            return self.reference()
        return self.group(depth - 1) if depth > 0 else self.character()

    def character(self) -> str:
        char = self.random.choice(CHARS)
        return r"\." if char == "." else char

    def reference(self) -> str:
        if self.names and self.random.random() < 0.3:
            return rf"\k<{self.random.choice(self.names)}>"
        return rf"\{self.random.randint(1, self.groups)}" if self.groups else "a"

    def group(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.4:
            self.groups += 1
            return f"({self.choice(depth)})"
        if kind < 0.86:
            opening = self.random.choice(("?:", "?:", "?:", "?>", "?=", "?!", "?<=", "?<!"))
            return f"({opening}{self.choice(depth)})"
        if kind < 0.92:
            self.groups += 1
            name = f"n{len(self.names)}"
            body = self.choice(depth)
            self.names.append(name)
            return f"(?<{name}>{body})"
        if kind < 0.98:
            return f"(?{self.random.choice(SPANS)}:{self.choice(depth)})"
        return f"(?{self.random.choice(SWITCHES)})"

    def char_class(self, depth: int) -> str:
        members = "".join(self.member(depth) for _ in range(self.random.randint(1, 4)))
        return f"[{'^' if self.random.random() < 0.25 else ''}{members}]"

    def member(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice(CHARS)
        if kind < 0.6:
            return self.random.choice(RANGES)
        if kind < 0.8 or not depth:
            return self.random.choice(ESCAPES)
        if kind < 0.88:
            return self.char_class(depth - 1)
        if kind < 0.94:
            nested = self.random.random() < 0.6
            right = self.char_class(depth - 1) if nested else self.random.choice(RIGHT_SIDES)
            return f"&&{right}"
        return self.random.choice(ODD_MEMBERS)
