"""From units to functions: chunks cut by content, source compiled once for each shape.

A deployment is cut into chunks of flags along the evaluation order, at places that the flags' own
keys choose. So a flag that is changed, added or taken away leaves most chunks as they were, and
only its own chunk is compiled again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, TypeAlias

from proxy.evaluation.codegen import generate
from proxy.evaluation.compiler_units import Unit
from proxy.evaluation.outcomes import Outcome

LIGHTEST: Final = 600  # weights of a chunk: some 20 flags of two targeting segments
HEAVIEST: Final = 1000  # what compiles in a few milliseconds
SHAPES: Final = 256  # sources whose code is remembered

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


def cut(units: Sequence[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Cut units, in evaluation order, into the units of chunks.

    Of the places where a chunk may end, it ends after the unit whose key has the lowest hash. So
    cuts that begin at different units soon meet.
    """
    begin = 0
    while begin < len(units):
        end = _end(units, begin)
        yield tuple(units[begin:end])
        begin = end


def _end(units: Sequence[Unit], begin: int) -> int:
    weight, end = 0, begin
    lowest: int | None = None
    for place in range(begin, len(units)):
        weight += units[place].weight
        if weight > HEAVIEST and place > begin:
            return end
        if lowest is None or units[place].key_hash < lowest:
            end = place + 1
            lowest = units[place].key_hash if weight >= LIGHTEST else None
    return len(units)


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
