"""What is written about the code agrees with the code."""

import re
from pathlib import Path

import proxy
from tests import documents

ROOT = Path(__file__).parent.parent


def test_the_readme_tables_are_the_codes() -> None:
    assert documents.README.read_text() == documents.readme(), "run `make docs`"


def test_the_version_is_said_once() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{proxy.__version__}"' in project


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", readme, re.MULTILINE))
    assert named <= targets
    assert {"run", "test", "check", "bench"} <= named
