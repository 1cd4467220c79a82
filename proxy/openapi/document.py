"""From the text to the document of one port, as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import yaml

from proxy import __version__
from proxy.openapi.conditions import in_force

if TYPE_CHECKING:
    from proxy.settings.schema import Settings

WHEN: Final = "x-when"
EVERYWHERE: Final = "x-everywhere"
METRICS: Final = "/metrics"
METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
# Ten times as fast, where PyYAML was built with it.
LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Port = Literal["clients", "operators"]


def text_of(port: Port) -> dict[str, Any]:
    """Return the text of a port as it is written, with all that may be switched off."""
    written = Path(__file__).with_name(f"{port}.yaml").read_bytes()
    text: dict[str, Any] = yaml.load(written, LOADER)  # noqa: S506  both loaders are safe ones
    return text


def document_of(port: Port, settings: Settings) -> bytes:
    """Return the document of a port as JSON; it takes some ten milliseconds."""
    document = fitted(text_of(port), in_force(settings))
    document["info"]["version"] = __version__
    if port == "operators":
        path = "/" + settings.metrics.path.strip("/")
        document["paths"] = {
            path if each == METRICS else each: item for each, item in document["paths"].items()
        }
    return msgspec.json.encode(document)


def fitted(text: dict[str, Any], holding: Collection[str]) -> dict[str, Any]:
    """Return a text without what depends on other conditions than those that hold."""
    document: dict[str, Any] = _kept(text, holding)
    everywhere = document.pop(EVERYWHERE, {})
    for _, _, operation in operations(document):
        answers = {**everywhere, **operation["responses"]}
        operation["responses"] = dict(sorted(answers.items()))
    _drop_unused(document)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give each operation of a document with its path and its method, in lower case."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def _kept(part: Any, holding: Collection[str]) -> Any:
    if isinstance(part, list):
        return [_kept(one, holding) for one in part if _is_true(one, holding)]
    if isinstance(part, dict):
        return {
            name: _kept(one, holding)
            for name, one in part.items()
            if name != WHEN and _is_true(one, holding)
        }
    return part


def _is_true(part: Any, holding: Collection[str]) -> bool:
    return not isinstance(part, dict) or part.get(WHEN) is None or part[WHEN] in holding


def _drop_unused(document: dict[str, Any]) -> None:
    """Take out the components that nothing refers to any more."""
    components = document["components"]
    before: object = None
    while (used := frozenset(_references(document))) != before:
        before = used
        for kind, parts in components.items():
            if kind != "securitySchemes":
                components[kind] = {
                    name: part
                    for name, part in parts.items()
                    if f"#/components/{kind}/{name}" in used
                }


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, one in part.items():
            if name == "$ref":
                yield one
            else:
                yield from _references(one)
    elif isinstance(part, list):
        for one in part:
            yield from _references(one)
