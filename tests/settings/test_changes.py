"""What differs between two configurations, and what of it needs a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from proxy.secret import Secret
from proxy.settings.changes import (
    RELOADED,
    RELOADED_OF_PROJECTS,
    RESTARTED,
    changes,
    values_of,
)
from proxy.settings.leaves import Leaf, build, leaves
from proxy.settings.schema import Configuration, Project, Settings

KNOWN = leaves(Configuration)


def project(name: str, **more: Any) -> Project:
    return Project(**{"api_key": Secret(name), "secret_key": Secret(f"{name}-secret"), **more})


def settings(*projects: Project, **values: Any) -> Settings:
    made = build(Configuration, {tuple(key.split(".")): value for key, value in values.items()})
    parts = {field.name: getattr(made, field.name) for field in msgspec.structs.fields(made)}
    return Settings(projects=projects or (project("a"),), **parts)


def another(leaf: Leaf) -> Any:
    """A value that is not the default."""
    match leaf.kind:
        case "integer":
            return leaf.greatest if leaf.default != leaf.greatest else leaf.least
        case "boolean":
            return not leaf.default
        case "choice":
            return next((one for one in leaf.choices if one != str(leaf.default)), "another")
        case "secret":
            return Secret("another")
        case "texts":
            return ("another",)
        case _:
            return "another"


def sections() -> Iterator[tuple[str, bool, bool]]:
    for leaf in KNOWN:
        section = f"{leaf.path[0]}.*"
        yield leaf.key, leaf.key in RELOADED, leaf.key in RESTARTED or section in RESTARTED


def test_every_setting_is_declared_to_reload_or_to_need_a_restart() -> None:
    undeclared = [key for key, reloads, restarts in sections() if reloads == restarts]
    assert not undeclared, "declare them in proxy/settings/changes.py: RELOADED or RESTARTED"
    keys = {leaf.key for leaf in KNOWN} | {f"{leaf.path[0]}.*" for leaf in KNOWN if leaf.path[1:]}
    assert keys >= RELOADED | RESTARTED
    assert {leaf.key for leaf in leaves(Project)} == RELOADED_OF_PROJECTS | {"apiKey", "id"}


@pytest.mark.parametrize("leaf", KNOWN, ids=lambda leaf: leaf.key)
def test_a_change_of_any_setting_is_taken_or_refused_by_its_path(leaf: Leaf) -> None:
    found = changes(settings(), settings(**{leaf.key: another(leaf)}))

    path = f"configuration.{leaf.key}"
    assert found.changed == (path,)
    assert found.refused == (() if leaf.key in RELOADED else (path,))
    assert found.mistakes() == [f"{path}: needs a restart" for path in found.refused]


def test_nothing_differs_from_itself() -> None:
    assert changes(settings(), settings()) == changes(settings(), settings())
    assert changes(settings(), settings()).changed == ()


def test_projects_are_known_by_their_api_key_wherever_they_stand() -> None:
    before = settings(project("a"), project("b", id="shop"))

    assert changes(before, settings(project("b", id="shop"), project("a"))).changed == ()
    found = changes(before, settings(project("c", id="new"), project("b", id="shop")))
    assert found.changed == (
        "projects[0] (new) added",
        f"projects ({Secret('a').label}) removed",
    )
    assert found.refused == ()


@pytest.mark.parametrize(
    ("more", "path", "refused"),
    [
        ({"secret_key": Secret("new")}, "projects[0].secretKey", False),
        ({"management_key": Secret("new")}, "projects[0].managementKey", False),
        ({"deployment_keys": (Secret("new"),)}, "projects[0].deploymentKeys", False),
        ({"id": "new"}, "projects[0].id", True),
    ],
)
def test_of_a_project_all_changes_but_its_name(
    more: dict[str, Any], path: str, refused: bool
) -> None:
    found = changes(settings(project("a")), settings(replace(project("a"), **more)))

    assert found.changed == (path,)
    assert found.refused == ((path,) if refused else ())
    assert "new" not in str(found.mistakes()).replace("needs", "")


def test_values_are_found_by_the_path_at_which_they_are_written() -> None:
    found = values_of(settings(**{"limits.maxFlagKeys": 7}))

    assert found["limits", "maxFlagKeys"] == 7
    assert {leaf.path for leaf in KNOWN} <= found.keys()
