"""The real java.util.regex, asked by thousands of pairs at once."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAM = Path(__file__).parent / "java" / "RegexOracle.java"
JAVA = shutil.which("java")

needs_java = pytest.mark.skipif(
    JAVA is None, reason="needs java (apt-get install openjdk-17-jdk-headless)"
)


class Pair(NamedTuple):
    """A pattern and a text."""

    pattern: str
    text: str


class Answers(NamedTuple):
    """The version of Java that answered, and its letter for each pair (see the program)."""

    version: int
    letters: list[str]


def ask(pairs: Sequence[Pair]) -> Answers:
    assert JAVA is not None
    lines = "".join(f"{_code_units(p)}\t{_code_units(t)}\n" for p, t in pairs)
    done = subprocess.run(
        [JAVA, "-Xss4m", str(PROGRAM)], input=lines, capture_output=True, text=True, check=True
    )
    version, *letters = done.stdout.split()
    assert len(letters) == len(pairs)
    return Answers(int(version), letters)


def _code_units(text: str) -> str:
    return text.encode("utf-16-be", "surrogatepass").hex()
