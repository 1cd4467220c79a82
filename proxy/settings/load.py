"""From a file and the environment to the settings in force, or to all mistakes at once."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace

from proxy.settings.agreement import Declared, check_configuration, check_projects
from proxy.settings.given import (
    Layer,
    environment_notices,
    from_document,
    from_environment,
    secret_files,
)
from proxy.settings.leaves import build, leaves
from proxy.settings.mistakes import Mistakes
from proxy.settings.notices import notices_of_configuration, notices_of_documents
from proxy.settings.otel import heeded
from proxy.settings.reading import Document, Place, read_document
from proxy.settings.schema import Configuration, OperatorsPort, Project, Settings
from proxy.settings.values import typed_values
from proxy.settings.zones import urls_in_force

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/etc/evaluation-proxy-config.yaml"
CONFIG_VARIABLE = "PROXY_CONFIG_FILE_PATH"
PROJECTS_VARIABLE = "PROXY_PROJECTS_FILE_PATH"
TOP = ("configuration", "projects")
NO_FILE = "there is no such file, and no project in the environment (AMPLITUDE_API_KEY, ...) either"
NO_PROJECT = "expected at least one project, here or in the environment (AMPLITUDE_API_KEY, ...)"


def config_file(
    environ: Mapping[str, str], config_path: str | None, default_path: str = DEFAULT_PATH
) -> str:
    """Return the file that the configuration is read from, if it exists."""
    return config_path or environ.get(CONFIG_VARIABLE) or default_path


def load(
    environ: Mapping[str, str],
    config_path: str | None = None,
    *,
    default_path: str = DEFAULT_PATH,
    files: set[str] | None = None,
) -> Settings:
    """Return the settings in force; raises SettingsError with every mistake.

    The environment overrides the file. When no file is named, here or in the environment, the
    one at the default path is read if it exists. To `files` all are added that the settings are
    made of, as far as they are known by then.
    """
    mistakes = Mistakes()
    files = set() if files is None else files
    files |= {*_named(environ, config_path, default_path)}
    written, listing = _documents(environ, config_path, default_path, mistakes)

    for document in (written,) if written is listing else (written, listing):
        _check_top(document, mistakes)
    layer = _configuration_given(written, environ, mistakes)
    values = typed_values(leaves(Configuration), layer, mistakes)
    configuration = build(Configuration, values)
    files |= {*secret_files(layer), *configuration.tls.files}
    check_configuration(configuration, layer, mistakes)
    projects = _projects_declared(listing, environ, mistakes)
    files.update(*(secret_files(project.layer) for project in projects))
    check_projects(projects, mistakes)
    mistakes.raise_if_any()

    notices = [
        *notices_of_documents(written, listing),
        *environment_notices(environ, leaves(Configuration) + leaves(Project)),
        *notices_of_configuration(configuration, layer, values),
    ]
    built = tuple(build(Project, project.values) for project in projects)
    return _in_force(configuration, built, tuple(notices))


def load_operators_port(
    environ: Mapping[str, str], config_path: str | None = None, *, default_path: str = DEFAULT_PATH
) -> OperatorsPort:
    """Return where the operators' port is and what opens it; raises SettingsError.

    For who asks a proxy that runs: projects and their keys are not looked at, and may be missing.
    """
    mistakes = Mistakes()
    file = config_file(environ, config_path, default_path)
    optional = file == default_path and not config_path
    document = _document(file, mistakes, optional=optional)
    mistakes.raise_if_any()
    assert document is not None, "whatever else is a mistake"
    layer = _configuration_given(document, environ, mistakes)
    known = [leaf for leaf in leaves(Configuration) if leaf.path[0] == "metrics"]
    values = typed_values(known, layer, mistakes)
    mistakes.raise_if_any()
    return build(Configuration, values).metrics


def _documents(
    environ: Mapping[str, str], config_path: str | None, default_path: str, mistakes: Mistakes
) -> tuple[Document, Document]:
    """Read the file of the configuration and that of the projects, often one and the same."""
    written, listing = _named(environ, config_path, default_path)
    files = dict.fromkeys((written, listing))
    documents = {}
    for file in files:
        optional = file == default_path and not config_path
        document = _document(file, mistakes, optional=optional)
        if document is not None:
            documents[file] = document
    if len(documents) < len(files):
        # Against a file that cannot be read, everything else would only look missing.
        mistakes.raise_if_any()
    return documents[written], documents[listing]


def _named(
    environ: Mapping[str, str], config_path: str | None, default_path: str
) -> tuple[str, str]:
    """Return the names of both files."""
    written = config_file(environ, config_path, default_path)
    return written, environ.get(PROJECTS_VARIABLE) or written


def _document(file: str, mistakes: Mistakes, *, optional: bool) -> Document | None:
    if optional and _is_missing(file):
        return Document(file, {}, {}, exists=False)
    document = read_document(file, mistakes)
    if document is None or isinstance(document.root, dict):
        return document
    if document.root is None:
        return Document(document.file, {}, {})
    mistakes.add(document.file, f"expected a mapping with {' and '.join(TOP)}, got something else")
    return None


def _is_missing(file: str) -> bool:
    try:
        FilePath(file).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # It may be there: reading it says what is wrong.
    return False


def _check_top(document: Document, mistakes: Mistakes) -> None:
    below = {leaf.path[0]: f"configuration.{leaf.path[0]}" for leaf in leaves(Configuration)}
    below |= {leaf.path[0]: f"projects[0].{leaf.path[0]}" for leaf in leaves(Project)}
    for key in document.root:
        where = document.where((key,))
        if key in below:
            mistakes.add(where, f"unknown key; did you mean `{below[key]}`?")
        elif key not in TOP:
            mistakes.unknown_key(where, key, TOP)


def _configuration_given(
    document: Document, environ: Mapping[str, str], mistakes: Mistakes
) -> Layer:
    known = leaves(Configuration)
    layer = {
        **from_document(document, ("configuration",), known, mistakes),
        **from_environment(environ, known, mistakes),
    }
    return heeded(layer)


def _projects_declared(
    document: Document, environ: Mapping[str, str], mistakes: Mistakes
) -> list[Declared]:
    known = leaves(Project)
    in_environment = from_environment(environ, known, mistakes)
    places = _places_of_projects(document, mistakes)
    if len(places) > 1:
        for given in in_environment.values():
            what = f"cannot tell which of the {len(places)} projects in {document.file} is meant"
            mistakes.add(given.where, what)
        in_environment = {}
    layers = {
        document.where(place): from_document(document, place, known, mistakes) | in_environment
        for place in places
    }
    if in_environment and not places:
        layers["environment"] = in_environment
    if not layers:
        where = document.where(("projects",)) if document.exists else document.file
        mistakes.add(where, NO_PROJECT if document.exists else NO_FILE)
    return [
        Declared(where, layer, typed_values(known, layer, mistakes))
        for where, layer in layers.items()
    ]


def _places_of_projects(document: Document, mistakes: Mistakes) -> list[Place]:
    listed = document.root.get("projects")
    if listed is not None and not isinstance(listed, list):
        mistakes.add(document.where(("projects",)), "expected a list of projects, each a mapping")
        return []
    return [("projects", at) for at in range(len(listed or ()))]


def _in_force(
    configuration: Configuration, projects: tuple[Project, ...], notices: tuple[str, ...]
) -> Settings:
    """Complete the configuration with what follows from it."""
    redis, metrics = configuration.redis, configuration.metrics
    parts: dict[str, Any] = asdict(configuration) | {
        "redis": replace(redis, read_only_uri=redis.read_only_uri or redis.uri),
        "metrics": replace(metrics, path=metrics.path.strip("/")),
        "urls": urls_in_force(configuration),
    }
    return Settings(projects=projects, notices=notices, **parts)
