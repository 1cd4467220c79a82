"""YAML as a tree that knows its lines, so that a mistake can be shown where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

DEEPEST = 40
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None}


class FileMistake(ValueError):
    """What is wrong in the flag file; `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the file: a scalar, a list of nodes or a map of nodes, and its line."""

    line: int
    value: Any

    def wrong(self, reason: str) -> NoReturn:
        """Raise the mistake that stands here."""
        raise FileMistake(self.line, reason)

    def entries(self, what: str, known: tuple[str, ...] = ()) -> dict[str, Node]:
        """Return the map's entries (none for an empty value), refusing names not `known`."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            self.wrong(f"{what} must be a map of names to values")
        for name, entry in self.value.items():
            if known and name not in known:
                entry.wrong(f"{what} has no setting {name!r}; it may have {', '.join(known)}")
        return dict(self.value)

    def items(self, what: str) -> list[Node]:
        """Return the list's members; a single scalar counts as a list of one."""
        if isinstance(self.value, dict):
            self.wrong(f"{what} must be a list")
        if isinstance(self.value, list):
            return list(self.value)
        return [] if self.value is None else [self]

    def text(self, what: str) -> str:
        """Return a scalar as text: what stands in the file, numbers included."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if not isinstance(self.value, str | int | float):
            self.wrong(f"{what} must be a text")
        return str(self.value)

    def texts(self, what: str) -> list[str]:
        """Return a list of scalars as texts."""
        return [item.text(what) for item in self.items(what)]

    def percent(self, what: str) -> int:
        """Return whole percents, written `25%` or `25`."""
        found = re.fullmatch(r"([0-9]{1,3})\s*%?", self.text(what))
        if found is None or int(found[1]) > 100:
            self.wrong(f"{what} must be whole percents from 0% to 100%, like 25%")
        return int(found[1])

    def plain(self) -> Any:
        """Return the value as ordinary JSON-able data."""
        if isinstance(self.value, dict):
            return {name: entry.plain() for name, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def read_yaml(text: str) -> Node:
    """Return the file as a tree; `on`, `off`, `yes` and dates stay texts. Raises FileMistake."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise FileMistake(
            line, f"not YAML: {error.problem or error.context}{_since(error)}"
        ) from None
    except yaml.YAMLError as error:
        raise FileMistake(1, f"not YAML: {' '.join(str(error).split())}") from None
    return Node(1, None) if root is None else _tree(root, 0)


def _since(error: yaml.MarkedYAMLError) -> str:
    # What was never closed is noticed lines later: say where it began.
    if error.problem is None or error.context is None or error.context_mark is None:
        return ""
    return f" ({error.context} that begins in line {error.context_mark.line + 1})"


def _tree(node: yaml.Node, depth: int) -> Node:
    line = node.start_mark.line + 1
    if depth > DEEPEST:
        raise FileMistake(line, "nested too deep")
    if isinstance(node, yaml.SequenceNode):
        return Node(line, [_tree(child, depth + 1) for child in node.value])
    if isinstance(node, yaml.MappingNode):
        return Node(line, _mapping(node, depth))
    return Node(line, _scalar(node))


def _mapping(node: yaml.MappingNode, depth: int) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            raise FileMistake(line, "a name must be a text")
        if name_node.value in entries:
            raise FileMistake(line, f"{name_node.value!r} stands here twice")
        entry = _tree(value_node, depth + 1)
        # A mistake about an entry is looked for where its name stands.
        entries[name_node.value] = Node(line, entry.value)
    return entries


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if getattr(node, "style", None) is not None:
        return text
    if text == "" or text.lower() in CONSTANTS:
        return CONSTANTS.get(text.lower())
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    return text
