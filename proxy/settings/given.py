"""What was given: values out of documents and the environment, each with the place it came from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy.settings.leaves import FILE, FILE_ENVIRONMENT, Leaf
from proxy.settings.mistakes import Mistakes, nearest_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxy.settings.leaves import Path
    from proxy.settings.reading import Document, Place

PREFIX = "AMPLITUDE_"
DIVIDERS = {"secrets": r"[,\s]+", "texts": r"\s*,\s*"}
# Kubernetes and Docker set such a value for a service that is called `amplitude`.
SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://.*")


class Given(Struct, frozen=True):
    """A value for one leaf; `in_file` says that it names the file which holds the value."""

    where: str
    value: Any
    in_file: bool = False


Layer = dict["Path", Given]


def from_document(
    document: Document, place: Place, known: Sequence[Leaf], mistakes: Mistakes
) -> Layer:
    """Return what the mapping at `place` gives; unknown keys and wrong shapes are mistakes."""
    return _Section(document, place, known, mistakes).layer()


class _Section:
    """The mapping at one place of a document, held against the leaves that it may give."""

    def __init__(
        self, document: Document, place: Place, known: Sequence[Leaf], mistakes: Mistakes
    ) -> None:
        self._document = document
        self._place = place
        self._mistakes = mistakes
        self._leaves: dict[Path, tuple[Leaf, bool]] = {}
        for leaf in known:
            self._leaves[leaf.path] = (leaf, False)
            if leaf.is_secret:
                self._leaves[_file_path(leaf)] = (leaf, True)

    def layer(self) -> Layer:
        node = self._document.root
        for step in self._place:
            node = node.get(step) if isinstance(node, dict) else node[step]
        layer: Layer = {}
        for leaf, given in self._walk(node, ()):
            _put(layer, leaf, given, self._mistakes)
        return layer

    def _walk(self, node: Any, path: Path) -> Iterator[tuple[Leaf, Given]]:
        if node is None:
            return
        if not isinstance(node, dict):
            self._mistakes.add(self._where(path), f"expected a mapping, got {_hidden(node)}")
            return
        for key, value in node.items():
            inner = (*path, key)
            if inner in self._leaves:
                leaf, in_file = self._leaves[inner]
                if not leaf.means_none(value):
                    yield leaf, Given(self._where(inner), value, in_file)
            elif any(known[: len(inner)] == inner for known in self._leaves):
                yield from self._walk(value, inner)
            else:
                self._unknown(inner)

    def _unknown(self, path: Path) -> None:
        siblings = {
            known[len(path) - 1] for known in self._leaves if known[: len(path) - 1] == path[:-1]
        }
        self._mistakes.unknown_key(self._where(path), path[-1], sorted(siblings))

    def _where(self, path: Path) -> str:
        return self._document.where((*self._place, *path))


def from_environment(
    environ: Mapping[str, str], known: Sequence[Leaf], mistakes: Mistakes
) -> Layer:
    """Return what the environment gives; a blank variable counts as not set."""
    layer: Layer = {}
    for leaf in known:
        for name, in_file in _names(leaf):
            value = environ.get(name, "").strip()
            if value and not _is_service_link(leaf, value):
                divider = None if in_file else DIVIDERS.get(leaf.kind)
                parts = re.split(divider, value.strip(",")) if divider else value
                _put(layer, leaf, Given(name, parts, in_file), mistakes)
    return layer


def environment_notices(environ: Mapping[str, str], known: Sequence[Leaf]) -> list[str]:
    """Say which variables look as if they were meant for the proxy, but are not read."""
    names = [name for leaf in known for name, _ in _names(leaf)]
    misspelt = [
        f"{name} in the environment is not read; did you mean {nearest}?"
        for name in sorted(set(environ).difference(names))
        if name.startswith(PREFIX) and (nearest := nearest_of(name, names, 0.85))
    ]
    links = [
        f"{leaf.environment} in the environment is not read: it is a Kubernetes service link"
        for leaf in known
        if _is_service_link(leaf, environ.get(leaf.environment, "").strip())
    ]
    return misspelt + links


def secret_files(layer: Layer) -> set[str]:
    """Return the files that hold values of a layer."""
    named = (given.value for given in layer.values() if given.in_file)
    return {name.strip() for name in named if isinstance(name, str)}


def _is_service_link(leaf: Leaf, value: str) -> bool:
    return leaf.path[-1] == "port" and bool(SERVICE_LINK.fullmatch(value))


def _names(leaf: Leaf) -> list[tuple[str, bool]]:
    names = [(leaf.environment, False)]
    if leaf.is_secret:
        names.append((leaf.environment + FILE_ENVIRONMENT, True))
    return names


def _file_path(leaf: Leaf) -> Path:
    return (*leaf.path[:-1], leaf.path[-1] + FILE)


def _put(layer: Layer, leaf: Leaf, given: Given, mistakes: Mistakes) -> None:
    earlier = layer.setdefault(leaf.path, given)
    if earlier is not given:
        mistakes.add(given.where, f"already given ({earlier.where}); give one of the two")


def _hidden(node: Any) -> str:
    return shown(node) if isinstance(node, list) else "a value that is not shown"
