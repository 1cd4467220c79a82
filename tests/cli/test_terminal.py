"""What is shown in a terminal: harmless, aligned, no wider than it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.terminal import (
    Cell,
    Column,
    Terminal,
    columns_of,
    harmless,
    harmless_json,
    size,
    span,
)

COLUMNS = (Column("name", gives=True), Column("number", right=True), Column("why", gives=True))
TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[2J\x1b]0;owned\x07",
        "a\nb\rc",
        "\u202eevil",
        "\x9b31m",
        "日本語の旗",
        "e\u0301",
        "\ud800",
    ]
)
TERMINALS = st.builds(
    Terminal, st.integers(40, 132), colour=st.just(value=False), unicode=st.booleans()
)


@given(TEXTS)
def test_no_text_steers_a_terminal(text: str) -> None:
    assert harmless(text).isprintable()
    plain = Terminal(unicode=False).text(text)
    assert plain.isascii()
    assert plain.isprintable()
    told = harmless_json(json.dumps(text, ensure_ascii=False))
    assert told.isprintable()
    assert json.loads(told) == text


@given(TERMINALS, TEXTS, st.integers(1, 40))
def test_what_is_cut_fits(terminal: Terminal, text: str, most: int) -> None:
    shown = terminal.text(text)
    cut = terminal.cut(shown, most)

    assert columns_of(cut) <= most
    assert cut == shown or columns_of(shown) > most


# Digits elsewhere would be taken for the number.
WORDS = TEXTS.map(lambda text: re.sub(r"[\d-]", "x", text))


@given(TERMINALS, st.lists(st.tuples(WORDS, st.integers(), WORDS), max_size=6))
def test_a_table_fits_and_is_aligned(terminal: Terminal, rows: list[tuple[str, int, str]]) -> None:
    cells = [(Cell(name), Cell(str(number)), Cell(why)) for name, number, why in rows]
    lines = list(terminal.table(COLUMNS, cells))

    assert len(lines) == len(rows) + 1
    assert all(columns_of(line) <= terminal.columns for line in lines)
    # Numbers end in one column, whatever stands before them.
    ends = {
        columns_of(line[: found.end()])
        for line, (_, number, _) in zip(lines[1:], rows, strict=True)
        if (found := re.search(rf"(?<!\S){number}(?!\S)", line)) and abs(number) > 10**9
    }
    assert len(ends) <= 1


@given(TERMINALS, TEXTS)
def test_what_is_wrapped_fits_and_loses_no_word_that_fits(terminal: Terminal, text: str) -> None:
    lines = list(terminal.wrap(text, "  ! ", "    "))

    assert all(columns_of(line) <= terminal.columns for line in lines)
    words = terminal.text(text).split()
    if all(columns_of(word) < 30 for word in words):
        assert " ".join(lines)[4:].split() == words


@given(st.lists(st.floats(0, 1e9), max_size=300), st.integers(1, 60))
def test_bars_are_as_many_as_there_is_room(values: list[float], most: int) -> None:
    bars = Terminal().bars(values, most)

    assert len(bars) <= most
    assert len(bars) >= min(len(values), most) // 2
    if any(values):
        assert "█" in bars


def test_colours_are_there_only_where_they_are_wanted() -> None:
    assert Terminal(colour=True).paint("x", "bad") == "\x1b[1;31mx\x1b[0m"
    assert Terminal(colour=True).paint("x", "plain") == "x"
    assert Terminal(colour=False).paint("x", "bad") == "x"


def test_signs_that_ascii_lacks_have_others() -> None:
    said = "“Beta”: on 10 % → 50 %, −blue…"
    assert Terminal(unicode=False).text(said) == '"Beta": on 10 % -> 50 %, -blue...'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (86_399, "23 h 59 min"),
        (180_000, "2 d 2 h"),
        (float("nan"), "0 s"),
        (float("inf"), "11574074 d 1 h"),
    ],
)
def test_spans_are_short(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (7e15, "7000.0 TB")],
)
def test_sizes_are_short(number: float, words: str) -> None:
    assert size(number) == words
