"""Whatever stands in the file: settings or mistakes, nothing else; and the schema agrees."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.errors import SettingsError
from proxy.settings.documents import json_schema
from proxy.settings.leaves import Leaf, leaves
from proxy.settings.schema import Configuration, Project
from tests.settings.asking import KEYS, loaded

LAW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["true", "EU", "80", "http://h", "redis://h", "warn", "", "console", "a"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(0, 200_000) | st.integers(0, 200_000).map(str),
    "boolean": st.booleans() | st.sampled_from(["true", "False"]),
    "choice": st.sampled_from(["us", "EU", "warn", "DEBUG", "json", "any"]),
    "text": st.sampled_from(["a", "b", "/c", 5]),
    "texts": st.lists(
        st.sampled_from(["*", "https://a.example", "10.0.0.0/8", "a = none", "::1", 3]), max_size=3
    ),
    "url": st.sampled_from(["http://a", "https://b/", ""]),
    "secret": st.sampled_from(["a", "b", "redis://x", 7]),
    "secrets": st.lists(st.sampled_from(["a", "b", "c", 3]), max_size=3),
}


def of_leaf(leaf: Leaf, *, tame: bool) -> st.SearchStrategy[Any]:
    if not tame:
        return BY_KIND[leaf.kind] | SCALARS
    if leaf.kind == "integer":
        return st.integers(leaf.least, leaf.greatest)
    # What does not fit the one leaf fits another of its kind: not all is accepted even so.
    return BY_KIND[leaf.kind] | st.none()


def mapping(
    known: tuple[Leaf, ...], depth: int = 0, *, tame: bool = False
) -> st.SearchStrategy[Any]:
    parts: dict[str, Any] = {}
    for leaf in known:
        name = leaf.path[depth]
        if len(leaf.path) > depth + 1:
            here = leaf.path[: depth + 1]
            below = tuple(each for each in known if each.path[: depth + 1] == here)
            parts[name] = mapping(below, depth + 1, tame=tame)
        else:
            parts[name] = of_leaf(leaf, tame=tame)
    one = st.sampled_from(sorted(parts)).flatmap(lambda key: st.tuples(st.just(key), parts[key]))
    return st.lists(one, max_size=3).map(dict)


PROJECTS = st.fixed_dictionaries(
    {leaf.path[0]: BY_KIND[leaf.kind] for leaf in leaves(Project) if leaf.is_secret}
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "projects": st.lists(PROJECTS | mapping(leaves(Project)), max_size=2) | ANYTHING,
        "configuration": mapping(leaves(Configuration)) | ANYTHING,
        "other": SCALARS,
    },
)
TAME = st.fixed_dictionaries(
    {},
    optional={
        "projects": st.none()
        | st.just([])
        | mapping(leaves(Project), tame=True).map(lambda p: [p]),
        "configuration": mapping(leaves(Configuration), tame=True),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def accepted(path: Path, environ: dict[str, str]) -> bool:
    try:
        loaded(environ, path)
    except SettingsError as error:
        mistakes = error.mistakes
    else:
        return True
    # Each can be shown on any terminal.
    assert all(mistake.encode() for mistake in mistakes)
    assert mistakes
    return False


@LAW
@given(document=LIKELY | ANYTHING, environ=st.sampled_from([{}, KEYS]))
def test_any_json_document_loads_or_is_refused(
    folder: Path, document: Any, environ: dict[str, str]
) -> None:
    path = folder / "proxy.json"
    path.write_text(json.dumps(document), encoding="utf-8")

    accepted(path, environ)


@LAW
@given(document=TAME)
def test_the_schema_takes_what_loads(folder: Path, document: Any) -> None:
    path = folder / "tame.json"
    path.write_text(json.dumps(document), encoding="utf-8")

    assume(accepted(path, KEYS))
    jsonschema.Draft202012Validator(json_schema()).validate(document)


@LAW
@given(document=LIKELY | ANYTHING)
def test_any_yaml_document_loads_or_is_refused(folder: Path, document: Any) -> None:
    path = folder / "proxy.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8", errors="surrogatepass")

    accepted(path, KEYS)


@LAW
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@pytest.mark.parametrize("name", ["bytes.yaml", "bytes.json"])
def test_any_bytes_load_or_are_refused(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)

    accepted(path, KEYS)


@LAW
@given(text=st.text(alphabet="{}[]:,-#&*!|>'\"%@`?\\ \n\tab01~<.u", max_size=40))
def test_any_yaml_like_text_loads_or_is_refused(folder: Path, text: str) -> None:
    path = folder / "text.yaml"
    path.write_text(text, encoding="utf-8")

    accepted(path, KEYS)


@LAW
@given(
    environ=st.dictionaries(
        st.sampled_from(
            [leaf.environment for leaf in (*leaves(Configuration), *leaves(Project))]
            + [f"{leaf.environment}_FILE" for leaf in leaves(Project)]
        ),
        st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=10)
        | st.sampled_from(["1", "true", "http://h", "EU", "a,b"]),
        max_size=6,
    )
)
def test_any_environment_loads_or_is_refused(folder: Path, environ: dict[str, str]) -> None:
    path = folder / "empty.yaml"
    path.write_text("", encoding="utf-8")

    accepted(path, environ)
