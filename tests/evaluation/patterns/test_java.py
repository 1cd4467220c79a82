"""Our answers are those of java.util.regex in JDK 17."""

import json
from pathlib import Path

import pytest

from proxy.evaluation.patterns.pattern import compile_pattern
from tests.evaluation.patterns.java_answers import Row, rows
from tests.evaluation.patterns.oracle import Answers, Pair, ask, needs_java
from tests.evaluation.patterns.wild import Wild

# What we know to answer otherwise, and why.
NOT_SUPPORTED = {
    r"\b{g}a": "the JDK's grapheme boundary depends on where its last match ended",
    "[a-z]{2147483647}": "too large for us; Java compiles it, and no text is that long",
    "(?<=a{2147483647})": "too large for us; Java compiles it, and no text is that long",
}


@pytest.mark.parametrize("row", rows(), ids=lambda row: ascii(row.pattern))
def test_a_hand_picked_pattern_matches_what_it_matches_in_java(row: Row) -> None:
    if row.pattern in NOT_SUPPORTED:
        assert compile_pattern(row.pattern).problem is not None
        return
    pattern = compile_pattern(row.pattern)
    assert (pattern.problem is None) == row.compiles, pattern.problem
    assert [text for text in row.matched if not pattern.matches(text)] == []
    assert [text for text in row.unmatched if pattern.matches(text)] == []


@needs_java
@pytest.mark.needs("java")
@pytest.mark.parametrize("seed", [17, 170])
def test_random_patterns_match_what_they_match_in_java(seed: int) -> None:
    pairs = Wild(seed).pairs(6_000)
    answers = ask(pairs)

    different = [
        (*pair, letter) for pair, letter in comparable(pairs, answers) if differs(pair, letter)
    ]

    assert different == []
    assert answers.letters.count("T") > 400
    assert answers.letters.count("E") > 200


def comparable(pairs: list[Pair], answers: Answers) -> list[tuple[Pair, str]]:
    """Leave out what Java gave up, and word boundaries where it is not JDK 17: they changed."""
    later = answers.version >= 19
    return [
        (pair, letter)
        for pair, letter in zip(pairs, answers.letters, strict=True)
        if letter != "G" and not (later and (r"\b" in pair.pattern or r"\B" in pair.pattern))
    ]


def differs(pair: Pair, letter: str) -> bool:
    pattern = compile_pattern(pair.pattern)
    if pattern.problem is not None or letter == "E":
        return (pattern.problem is not None) != (letter == "E")
    # B: the JDK compiles `[a\d&&]` and breaks at the first character it meets.
    return letter != "B" and pattern.matches(pair.text) != (letter == "T")


def test_the_questions_are_all_answered() -> None:
    questions = json.loads(Path(__file__).with_name("java_questions.json").read_text())
    assert [row.pattern for row in rows()] == questions["patterns"]
