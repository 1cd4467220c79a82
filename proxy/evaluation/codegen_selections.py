"""Selectors as steps of reading, so that what several flags read is read once.

A selector becomes a chain of nodes: maps that are walked through, then a leaf that is either the
value of conditions (a text and members, and perhaps what is derived of the text) or a bucketing
value (bytes).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from proxy.evaluation.codegen_conditions import Derived

CONTEXT: Final = ("context",)
USER: Final = ("context", "user")
GROUPS: Final = ("context", "groups")
RESULT: Final = ("result",)
WHOLE: Final = frozenset({CONTEXT, USER, GROUPS, RESULT})
TAKEN_OUT: Final = frozenset({"groups", "group_properties", "group_cohort_ids"})


Kind: TypeAlias = Literal["map", "bytes"] | Derived


class Node(NamedTuple):
    """One step of reading; `path` is the selector up to here."""

    kind: Kind
    path: tuple[str, ...]

    @property
    def moves(self) -> bool:
        """Whether its value may change while flags are evaluated, as results come in."""
        return self.path[:1] == RESULT

    @property
    def whole(self) -> bool:
        """Whether it selects a whole tree of the target, which no map holds."""
        return self.path in WHOLE and self.kind in {"map", "text", "bytes"}

    @property
    def parent(self) -> Node:
        """What this is a member of, or derived of."""
        if self.kind in {"lower", "number", "version"}:
            return Node("text", self.path)
        return Node("map", self.path[:-1])


USER_ROOT: Final = Node("map", USER)
RESULT_ROOT: Final = Node("map", RESULT)


def finds_nothing(selector: tuple[str, ...]) -> bool:
    """Tell whether a selector is null for every user."""
    if selector == CONTEXT or selector[:1] == RESULT or selector[:2] == GROUPS:
        return False
    return selector[:2] != USER or not TAKEN_OUT.isdisjoint(selector[2:3])


def chain(kind: Kind, selector: tuple[str, ...]) -> list[Node]:
    """Return the nodes that a selector needs, outermost first, without those given to all."""
    node = Node(kind, selector)
    nodes = [node]
    while not node.whole:
        node = node.parent
        if node in {USER_ROOT, RESULT_ROOT}:
            break
        nodes.append(node)
    return nodes[::-1]
