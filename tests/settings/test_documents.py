"""What is written for people and editors says the same as the code."""

import runpy
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from proxy.settings.documents import (
    BEGIN,
    END,
    EXAMPLE_FILE,
    README_FILE,
    SCHEMA_FILE,
    example,
    json_schema,
    refresh,
    settings_table,
    write,
)
from proxy.settings.leaves import leaves
from proxy.settings.schema import Configuration, Project, Settings
from tests.settings.asking import PROJECT, loaded

ROOT = Path(__file__).parents[2]


def fits(document: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(document))


def test_the_schema_file_is_the_codes() -> None:
    assert msgspec.json.decode((ROOT / SCHEMA_FILE).read_bytes()) == json_schema()


def test_the_readme_holds_the_table() -> None:
    readme = (ROOT / README_FILE).read_text(encoding="utf-8")

    assert refresh(readme) == readme


def test_the_example_file_is_the_codes() -> None:
    assert (ROOT / EXAMPLE_FILE).read_text(encoding="utf-8") == example()


def test_the_example_loads_and_holds_every_setting_at_its_default() -> None:
    settings = loaded({}, ROOT / EXAMPLE_FILE)

    assert msgspec.structs.replace(settings, projects=()) == Settings()
    assert len(settings.projects) == 1
    document = yaml.safe_load(example())
    assert set(document["projects"][0]) == {leaf.key for leaf in leaves(Project)}
    assert {key for key, _ in flat(document["configuration"])} == {
        leaf.key for leaf in leaves(Configuration)
    }


def flat(group: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in group.items():
        inner = above + key
        found += flat(value, f"{inner}.") if isinstance(value, dict) else [(inner, value)]
    return found


def test_the_schema_is_one_and_takes_the_example() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())

    assert fits(yaml.safe_load(example()))
    assert fits(yaml.safe_load(PROJECT))


@pytest.mark.parametrize(
    "configuration",
    [
        {"port": "3546"},
        {"port": None},
        {"serverZone": "eu"},
        {"serverUrl": ""},
        {"streamUpdates": "True"},
        {"redis": {"uri": "", "uriFile": "/run/secrets/redis"}},
        {"log": {"level": "warn"}},
        {"metrics": {"path": "/metrics"}},
    ],
)
def test_the_schema_takes_what_the_loading_takes(configuration: dict[str, Any]) -> None:
    assert fits({"configuration": configuration})


@pytest.mark.parametrize(
    "configuration",
    [
        {"port": 65536},
        {"port": 1.5},
        {"port": "x"},
        {"prot": 1},
        {"serverZone": "ASIA"},
        {"serverUrl": "flag.lab.amplitude.com"},
        {"streamUpdates": "yes"},
        {"redis": {"uri": "host:6379"}},
        {"redis": []},
        {"log": {"level": "LOUD"}},
        {"host": ""},
    ],
)
def test_the_schema_refuses_what_the_loading_refuses(configuration: dict[str, Any]) -> None:
    assert not fits({"configuration": configuration})
    assert not fits({"projects": {}})
    assert not fits({"projects": [{"deploymentKeys": "server-1"}]})


def test_the_table_has_a_row_for_every_setting() -> None:
    table = settings_table()

    for leaf in (*leaves(Configuration), *leaves(Project)):
        assert f"| `{leaf.key}`" in table
        assert f"`{leaf.environment}`" in table
    assert "| `port` | `AMPLITUDE_PORT` | `3546` | The port for clients; 0 is any free one. |" in (
        table.splitlines()
    )
    assert "| `redis.uri`, `redis.uriFile` |" in table


def test_a_text_without_the_markers_is_refused() -> None:
    assert refresh(f"a\n{BEGIN}old{END}\nb") == f"a\n{BEGIN}\n{settings_table()}\n{END}\nb"
    with pytest.raises(ValueError, match="settings:begin"):
        refresh(f"no markers, {END}")


def test_run_as_a_program_it_writes_all_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / README_FILE).write_text(f"{BEGIN}{END}", encoding="utf-8")

    runpy.run_path(str(ROOT / "proxy/settings/documents.py"), run_name="__main__")

    assert settings_table() in (tmp_path / README_FILE).read_text(encoding="utf-8")
    for name in (SCHEMA_FILE, EXAMPLE_FILE):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


def test_where_there_is_no_readme_none_is_written(tmp_path: Path) -> None:
    write(tmp_path)

    assert not (tmp_path / README_FILE).exists()
    assert (tmp_path / SCHEMA_FILE).exists()
