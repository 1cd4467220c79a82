"""Files that cannot be read, or hold more than a configuration can."""

from pathlib import Path

import pytest

from proxy.settings.mistakes import Mistakes
from proxy.settings.reading import LARGEST_FILE_BYTES, MOST_VALUES, read_document
from tests.settings.asking import KEYS, PROJECT, configured, loaded, mistakes_of, written


@pytest.mark.parametrize("name", ["proxy.toml", "proxy", "proxy.yaml.bak"])
def test_the_extension_decides_and_must_be_known(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, PROJECT, name)

    assert mistakes_of({}, path) == [f"{path}: the extension must be .yaml, .yml or .json"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "configuration:\n\tport: 1\n",
            (
                "is not YAML: line 2, column 1: found character '\\t' that cannot start any token;"
                " YAML is indented by spaces, not tabs"
            ),
        ),
        ("a: [1,\n", "is not YAML: line 2, column 1: expected the node content, but found"),
        ("a: 1\n---\nb: 2\n", "is not YAML: line 2, column 1: but found another document"),
        ("a: *topsecret\n", "is not YAML: line 1, column 4: found undefined alias '...'"),
        ("a: 'x\x00'\n", "is not YAML: it holds characters that YAML does not allow"),
        ('a: "\\UFFFFFFFF"\n', "is not YAML: it holds an escape that is no character"),
        ("? [a]\n: 1\n", "line 1: a key must be a text"),
        ("[" * 5000, "is nested deeper than 32 levels"),
        ("[" * 40 + "]" * 40, "is nested deeper than 32 levels"),
        ("&a [*a]", "is nested deeper than 32 levels"),
        ("- 1\n", "expected a mapping with configuration and projects, got something else"),
        ("text", "expected a mapping with configuration and projects, got something else"),
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_what_is_not_a_yaml_mapping_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)

    (mistake,) = mistakes_of(KEYS, path)

    assert mistake.startswith(f"{path}: {expected}")
    assert "secret" not in mistake


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not JSON: line 1, column 1: Expecting value"),
        ('{"a":\n topsecret}', "is not JSON: line 2, column 2: Expecting value"),
        ("[" * 100_000, "is nested deeper than 32 levels"),
        ("[1]", "expected a mapping with configuration and projects, got something else"),
    ],
    ids=["empty", "bare word", "deep", "a list"],
)
def test_what_is_not_a_json_mapping_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text, "proxy.json")

    assert mistakes_of(KEYS, path) == [f"{path}: {expected}"]


def test_json_null_is_an_empty_configuration(tmp_path: Path) -> None:
    assert loaded(KEYS, written(tmp_path, "null", "proxy.json")).port == 3546


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("proxy.yaml", "configuration:\n  port: 1\n  port: 2\n", ":3"),
        ("proxy.json", '{"configuration": {"port": 1, "port": 2}}', ""),
    ],
)
def test_a_key_given_twice_is_a_mistake(tmp_path: Path, name: str, text: str, line: str) -> None:
    path = written(tmp_path, text, name)

    assert mistakes_of(KEYS, path) == [
        f"{path}{line}: configuration.port: the key is given more than once"
    ]


@pytest.mark.parametrize(
    "lines", ["port: !secret 1", "redis: !!python/object:os.system {}", "host: !!binary aGk"]
)
def test_yaml_tags_are_a_mistake(tmp_path: Path, lines: str) -> None:
    (mistake,) = mistakes_of({}, configured(tmp_path, lines))

    assert mistake.endswith("YAML tags are not supported here")


def test_plain_yaml_tags_are_harmless(tmp_path: Path) -> None:
    assert loaded({}, configured(tmp_path, "port: !!int 5")).port == 5


def test_aliases_cannot_blow_a_document_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    (mistake,) = mistakes_of(KEYS, written(tmp_path, "\n".join(lines)))

    assert f"holds more than {MOST_VALUES} values" in mistake


def test_a_file_has_a_greatest_size(tmp_path: Path) -> None:
    longest = written(tmp_path, PROJECT + "#" * (LARGEST_FILE_BYTES - len(PROJECT)))
    assert len(loaded({}, longest).projects) == 1

    longer = written(tmp_path, PROJECT + "#" * (LARGEST_FILE_BYTES - len(PROJECT) + 1))
    assert mistakes_of({}, longer) == [f"{longer}: is longer than {LARGEST_FILE_BYTES} bytes"]


def test_a_file_must_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_bytes(PROJECT.encode("utf-16"))

    assert mistakes_of({}, path) == [f"{path}: is not UTF-8 (at byte 0)"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.mkdir()

    assert mistakes_of({}, path) == [f"{path}: cannot be read: Is a directory"]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert mistakes_of({"PROXY_CONFIG_FILE_PATH": "a\x00b.yaml"}) == [
        "a\x00b.yaml: cannot be read: not a file name"
    ]
    (mistake,) = mistakes_of({"PROXY_CONFIG_FILE_PATH": "/\udcff.yaml"})
    assert mistake == "/\\udcff.yaml: cannot be read: No such file or directory"


def test_values_keep_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "configuration:\n  metrics:\n    port:\n      1\n")

    document = read_document(str(path), Mistakes())

    assert document is not None
    assert document.where(("configuration", "metrics", "port")).startswith(f"{path}:3: ")
    assert document.where(("configuration", "absent")).startswith(f"{path}:1: ")
    assert document.where(()) == f"{path}:1"
