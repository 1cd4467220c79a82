"""From units to functions: chunks cut by content, source compiled once for each shape.

A deployment is cut into chunks of flags along the evaluation order, at places that the flags' own
keys choose. So a flag that is changed, added or taken away leaves most chunks as they were, and
only its own chunk is compiled again.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from types import CodeType, FunctionType
from typing import Any, Final, TypeAlias

from proxy.evaluation.codegen import generate
from proxy.evaluation.compiler_units import Unit
from proxy.evaluation.outcomes import Outcome

HEAVIEST: Final = 1000  # weight of a chunk: some 30 flags, which compile in a few milliseconds
LIGHTEST: Final = 400  # weight that a cut leaves on both sides where it can
SHAPES: Final = 128  # sources whose code is remembered

Results: TypeAlias = dict[str, Any]
Function: TypeAlias = Callable[[dict[str, Any], Results], list[Outcome]]
Load: TypeAlias = Callable[[str, dict[str, Any]], Function]


class Chunk:
    """Some flags that follow each other, and the function that evaluates them.

    `referred` are those of their keys whose results some condition of the deployment reads.
    """

    __slots__ = ("function", "referred", "units")

    def __init__(self, units: tuple[Unit, ...], referred: frozenset[str]) -> None:
        self.units = units
        self.referred = referred
        self.function = function_of(units, referred)


def cut(units: Sequence[Unit]) -> list[tuple[Unit, ...]]:
    """Cut units, in evaluation order, into the units of chunks.

    What is too heavy is cut in two after the unit whose key has the lowest hash, and so on. So
    the cuts elsewhere stay where they are when a unit is added, changed or taken away.
    """
    weights = [0, *accumulate(unit.weight for unit in units)]
    found: list[tuple[Unit, ...]] = []
    waiting = [(0, len(units))]
    while waiting:
        begin, end = waiting.pop()
        if weights[end] - weights[begin] <= HEAVIEST:  # as each unit is
            found.append(tuple(units[begin:end]))
            continue
        first = bisect_left(weights, weights[begin] + LIGHTEST)
        last = bisect_right(weights, weights[end] - LIGHTEST)
        places = range(first, last) if first < last else range(begin + 1, end)
        place = min(places, key=lambda place: units[place - 1].key_hash)
        waiting += (place, end), (begin, place)
    return found


def load(source: str, namespace: dict[str, Any]) -> Function:
    """Make the function that a source defines, reading its names from the namespace."""
    # A copy of the code, because the interpreter writes what it learns of a namespace into it.
    function: Function = FunctionType(_code(source).replace(), namespace)
    return function


@functools.lru_cache(maxsize=SHAPES)
def _code(source: str) -> CodeType:
    module = compile(source, "<flags>", "exec", dont_inherit=True, optimize=2)
    (code,) = (const for const in module.co_consts if isinstance(const, CodeType))
    return code


def forget_shapes() -> None:
    """Forget the code of all sources, so that the next is compiled as the first was."""
    _code.cache_clear()


def function_of(units: tuple[Unit, ...], referred: Collection[str], load: Load = load) -> Function:
    """Compile units to one function; where that is impossible, one by one or not at all."""
    try:
        return load(*generate(units, referred))
    except (MemoryError, OverflowError, RecursionError, SyntaxError, ValueError):
        if len(units) > 1:
            return _one_by_one([function_of((unit,), referred, load) for unit in units])
        return _uncompiled(units[0], recorded=units[0].flag.key in referred)


def _one_by_one(functions: list[Function]) -> Function:
    def evaluate(user: dict[str, Any], results: Results) -> list[Outcome]:
        return [outcome for function in functions for outcome in function(user, results)]

    return evaluate


def _uncompiled(unit: Unit, *, recorded: bool) -> Function:
    def evaluate(user: dict[str, Any], results: Results) -> list[Outcome]:
        outcome = unit.slow(user, results)
        if outcome is None:
            return []
        if recorded:
            results[unit.flag.key] = outcome.view
        return [outcome]

    return evaluate
