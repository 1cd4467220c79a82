"""What a pattern says, as a tree; the parser builds it, two writers read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.evaluation.patterns.charset import CharSet

MAX_DEPTH = 100
"""How deep groups and classes may nest; keeps every recursion here and in the engines short."""


class PatternRefused(ValueError):
    """java.util.regex does not compile the pattern, or it is beyond our bounds; says why."""


Greed = Literal["greedy", "lazy", "possessive"]
AnchorKind = Literal[
    "begin",
    "end",
    "caret",
    "caret unix",
    "dollar",
    "dollar unix",
    "dollar lines",
    "dollar unix lines",
    "boundary",
    "boundary unicode",
    "no boundary",
    "no boundary unicode",
]


@dataclass(frozen=True, slots=True)
class Chars:
    """One code point of the set."""

    charset: CharSet


@dataclass(frozen=True, slots=True)
class Sequence:
    """All items, one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group in parentheses; `number` is None unless it captures."""

    body: Node
    number: int | None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The body `low` to `high` times (None: no end).

    `settled`: Java never reconsiders how one pass through the body matched.
    """

    body: Node
    low: int
    high: int | None
    greed: Greed
    settled: bool


@dataclass(frozen=True, slots=True)
class Atomic:
    """The body, its first way of matching only."""

    body: Node


@dataclass(frozen=True, slots=True)
class Look:
    """Whether the body matches from here (ahead) or up to here, consuming nothing."""

    body: Node
    ahead: bool
    negated: bool


@dataclass(frozen=True, slots=True)
class BackReference:
    """The text that the group of this number matched last, `folds`: in any case."""

    number: int
    folds: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in the text."""

    kind: AnchorKind


@dataclass(frozen=True, slots=True)
class LineBreak:
    r"""One line terminator, CR LF as one where it can (`\R`)."""


@dataclass(frozen=True, slots=True)
class Grapheme:
    r"""One extended grapheme cluster (`\X`)."""


Node = (
    Chars
    | Sequence
    | Choice
    | Group
    | Repeat
    | Atomic
    | Look
    | BackReference
    | Anchor
    | LineBreak
    | Grapheme
)

EMPTY = Sequence(())
