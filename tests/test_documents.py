"""What is written about the code agrees with the code."""

import re
from pathlib import Path

import pytest

import proxy
from proxy.instruments import PREFIX
from proxy.settings.leaves import leaves
from proxy.settings.schema import Configuration
from tests import documents
from tests.advice import AREAS

ROOT = Path(__file__).parent.parent


def test_the_readme_tables_are_the_codes() -> None:
    assert documents.README.read_text() == documents.readme(), "run `make docs`"


@pytest.mark.parametrize("path", documents.generated(), ids=lambda path: path.name)
def test_generated_files_are_as_their_source(path: Path) -> None:
    assert path.read_text() == documents.generated()[path], "run `make docs`"


def test_there_is_advice_on_every_metric() -> None:
    advised = [PREFIX + name for area in AREAS for name in area.advice]

    assert sorted(advised) == sorted(family.name for family in documents.families())


def test_advice_names_settings_that_exist() -> None:
    keys = {leaf.key for leaf in leaves(Configuration)}
    said = [area.about for area in AREAS] + [
        text for area in AREAS for text in area.advice.values()
    ]

    named = set(re.findall(r"`([a-z]+\.[a-zA-Z]+|[a-z]+[A-Z]\w+)`", " ".join(said)))

    assert {key for key in named if "." in key} <= keys
    assert all(any(key.endswith(name) for key in keys) for name in named)


def test_the_version_is_said_once() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{proxy.__version__}"' in project
    chart = (documents.CHART / "Chart.yaml").read_text()
    assert f'appVersion: "{proxy.__version__}"' in chart


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", readme, re.MULTILINE))
    assert named <= targets
    assert {"run", "test", "check", "bench"} <= named
