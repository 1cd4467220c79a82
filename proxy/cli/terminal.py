"""Text for a terminal: harmless whatever it says, aligned, no wider than it may be."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, Literal, NamedTuple, final

Tone = Literal["plain", "good", "worry", "bad", "dim", "bold"]

CODES: Final[dict[Tone, str]] = {
    "plain": "",
    "good": "32",
    "worry": "33",
    "bad": "1;31",
    "dim": "2",
    "bold": "1",
}
INDENT: Final = "  "
LEAST_COLUMN: Final = 6
MOST_SECONDS: Final = 1e12
IN_ASCII: Final = str.maketrans(
    {
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{HORIZONTAL ELLIPSIS}": "...",
    }
)
BARS: Final = "▁▂▃▄▅▆▇█"
ASCII_BARS: Final = "_.:-=+*#"


def harmless(text: str) -> str:
    """Return the text with every character that could steer a terminal, or hide, replaced."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def escaped(character: str) -> str:
    """Return a character as JSON may write it in ASCII."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def harmless_json(text: str) -> str:
    """Return JSON that means the same, with every character that could steer a terminal escaped."""
    return "".join(each if each.isprintable() or each == "\n" else escaped(each) for each in text)


def columns_of(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Cell(NamedTuple):
    """One cell of a table, in its tone."""

    text: str
    tone: Tone = "plain"


class Column(NamedTuple):
    """A column of a table; numbers stand to the right, and what `gives` is shortened first."""

    title: str
    right: bool = False
    gives: bool = False


@final
class Terminal:
    """What the terminal at the other end can show: how wide, in colour or not, in which letters."""

    def __init__(self, columns: int = 80, *, colour: bool = False, unicode: bool = True) -> None:
        self.columns = columns
        self._colour = colour
        self._unicode = unicode

    def text(self, text: str) -> str:
        """Return a text from elsewhere as this terminal may show it."""
        clean = harmless(text)
        if self._unicode:
            return clean
        letters = unicodedata.normalize("NFKD", clean.translate(IN_ASCII))
        bare = "".join(each for each in letters if not unicodedata.combining(each))
        return bare.encode("ascii", "replace").decode()

    def paint(self, text: str, tone: Tone) -> str:
        """Return a text of ours in a tone, where there are colours."""
        code = CODES[tone]
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    def cut(self, text: str, most: int) -> str:
        """Return a text that takes `most` columns at most; what is missing shows as an ellipsis."""
        if columns_of(text) <= most:
            return text
        end = "…" if self._unicode else "..."
        room, kept = most - len(end), ""
        for each in text:
            room -= _columns(each)
            if room < 0:
                break
            kept += each
        return (kept + end)[:most]

    def wrap(self, text: str, first: str, rest: str) -> Iterator[str]:
        """Return a text in lines that fit, the first after `first`, others after `rest`."""
        line, taken = first, False
        for word in self.text(text).split():
            word = self.cut(word, self.columns - columns_of(rest))  # noqa: PLW2901
            if taken and columns_of(line) + 1 + columns_of(word) > self.columns:
                yield line
                line, taken = rest, False
            line, taken = (f"{line} {word}" if taken else line + word), True
        yield line

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
        """Return the lines of a table, its titles first; it is as wide as it must be."""
        head = [Cell(column.title, "dim") for column in columns]
        body = [[Cell(self.text(cell.text), cell.tone) for cell in row] for row in rows]
        widths = self._widths(columns, [head, *body])
        for row in (head, *body):
            parts = [
                self._cell(cell, column, width)
                for cell, column, width in zip(row, columns, widths, strict=True)
            ]
            yield (INDENT + INDENT.join(parts)).rstrip()

    def bars(self, values: Sequence[float], most: int) -> str:
        """Return `most` bars at most that show how values went, each the greatest of its part."""
        signs = BARS if self._unicode else ASCII_BARS
        size = -(-len(values) // most) or 1
        parts = [max(values[at : at + size]) for at in range(0, len(values), size)]
        top = max(parts, default=0.0)
        if top <= 0:
            return signs[0] * len(parts)
        return "".join(signs[min(int(part / top * len(signs)), len(signs) - 1)] for part in parts)

    def _cell(self, cell: Cell, column: Column, width: int) -> str:
        text = self.cut(cell.text, width)
        room = " " * (width - columns_of(text))
        painted = self.paint(text, cell.tone)
        return room + painted if column.right else painted + room

    def _widths(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> list[int]:
        widths = [
            max(columns_of(cell.text) for cell in column if cell is not None)
            for column in zip_longest(*rows)
        ]
        giving = [at for at, column in enumerate(columns) if column.gives]
        # Numbers are shortened only where nothing else is left to be: none is ever that long.
        for candidates in (giving, range(len(columns))):
            while sum(widths) + len(INDENT) * len(widths) > self.columns:
                widest = max(candidates, key=lambda at: widths[at], default=0)
                if widths[widest] <= LEAST_COLUMN:
                    break
                widths[widest] -= 1
        return widths


def span(seconds: float) -> str:
    """Return a span of time in words of a few letters, as in `3 min`."""
    # Another's clock may be anywhere; what is no number counts as none.
    whole = int(min(max(0.0, seconds), MOST_SECONDS))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(number: float) -> str:
    """Return a number of bytes in words, as in `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
