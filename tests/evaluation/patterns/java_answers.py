"""What JDK 17 answers to hand-picked patterns and texts, kept so that no test needs Java for it.

Add to java_questions.json, then ask: `python -m tests.evaluation.patterns.java_answers`.
"""

import json
import random
from pathlib import Path

import msgspec

from tests.evaluation.patterns.oracle import Pair, ask

ANSWERS = Path(__file__).with_name("java_answers.json")
QUESTIONS = Path(__file__).with_name("java_questions.json")


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A pattern, whether the JDK compiles it, and some texts that it matches and does not."""

    pattern: str
    compiles: bool = True
    matched: list[str] = []
    unmatched: list[str] = []


def rows() -> list[Row]:
    """Return the stored answers; the standard parser, as lone surrogates are among the texts."""
    return msgspec.convert(json.loads(ANSWERS.read_text()), list[Row])


def write() -> None:
    """Ask Java about all pairs; keep what matches and a few texts that do not."""
    chance = random.Random(17)
    questions = json.loads(QUESTIONS.read_text())
    texts = questions["texts"]
    patterns = questions["patterns"]
    version, all_letters = ask([Pair(pattern, text) for pattern in patterns for text in texts])
    assert version == 17, f"the answers are to be those of JDK 17, not {version}"
    found = []
    for at, pattern in enumerate(patterns):
        letters = all_letters[at * len(texts) : (at + 1) * len(texts)]
        if "E" in letters:
            found.append(Row(pattern=pattern, compiles=False))
            continue
        by_letter = {
            letter: [text for text, answer in zip(texts, letters, strict=True) if answer == letter]
            for letter in "TF"
        }
        some = chance.sample(by_letter["F"], min(5, len(by_letter["F"])))
        found.append(Row(pattern=pattern, matched=by_letter["T"], unmatched=some))
    lines = ",\n".join(json.dumps(msgspec.to_builtins(row)) for row in found)
    ANSWERS.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    write()
