"""The order of flags that depend on flags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from proxy.evaluation.model import Flag

Node = TypeVar("Node")


class CycleError(ValueError):
    """A flag depends on itself; `path` leads from an asked flag to the one that closes it."""

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(f"a dependency cycle: {' -> '.join(path)}")
        self.path = tuple(path)


def order(
    flags: Mapping[str, Node],
    keys: Sequence[str],
    dependencies: Callable[[Node], Iterable[str]],
) -> list[Node]:
    """Give the asked flags and all they depend on, each once, dependencies first.

    No keys asks for all flags in their own order. Unknown keys are skipped. Raises CycleError for a
    cycle that the asked keys reach.
    """
    ordered: dict[str, Node] = {}
    path: dict[str, Iterator[str]] = {}  # the flags being visited, with what remains of their needs
    for asked in keys or flags:
        if asked in ordered or asked not in flags:
            continue
        path[asked] = iter(dependencies(flags[asked]))
        while path:
            visiting = next(reversed(path))
            needed = next(path[visiting], None)
            if needed is None:
                del path[visiting]
                ordered[visiting] = flags[visiting]
            elif needed in path:
                raise CycleError(tuple(path))
            elif needed in flags and needed not in ordered:
                path[needed] = iter(dependencies(flags[needed]))
    return list(ordered.values())


def on_or_behind_cycles(flags: Mapping[str, Flag]) -> set[str]:
    """Give the keys of the flags on a cycle and of those that depend on one, however indirectly."""
    needs = {
        key: {needed for needed in flag.dependencies if needed in flags}
        for key, flag in flags.items()
    }
    needed_by: dict[str, list[str]] = {key: [] for key in flags}
    for key, needed_keys in needs.items():
        for needed in needed_keys:
            needed_by[needed].append(key)
    free = [key for key, needed_keys in needs.items() if not needed_keys]
    while free:
        for dependent in needed_by[(ready := free.pop())]:
            needs[dependent].discard(ready)
            if not needs[dependent]:
                free.append(dependent)
        del needs[ready]
    return set(needs)
