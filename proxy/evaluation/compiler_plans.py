"""Requests for some flags only: which chunks to run, and which of their outcomes to give.

No request makes anything be compiled. The chunks that hold the wanted flags are run and the
outcomes of other flags dropped; the results of those are hidden from conditions, as if they had
not been evaluated. Only where conditions would notice the order are flags taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from proxy.evaluation.compiler import Chunk, Results
from proxy.evaluation.compiler_units import Unit
from proxy.evaluation.dependencies import order
from proxy.evaluation.outcomes import Outcome

REMEMBERED: Final = 64  # plans

Plan: TypeAlias = Callable[[dict[str, Any]], list[Outcome]]


class _Visible(dict[str, Any]):
    """Results so far, without those of flags that are not wanted."""

    def __init__(self, wanted: Mapping[str, Unit]) -> None:
        super().__init__()
        self._wanted = wanted

    def __setitem__(self, key: str, view: Any) -> None:
        if key in self._wanted:
            super().__setitem__(key, view)


class Plans:
    """How to evaluate some flags of a deployment; remembers the plans made last."""

    def __init__(self, units: Mapping[str, Unit], chunks: Sequence[Chunk]) -> None:
        """Take the units by key, in evaluation order, and the chunks of them."""
        self._units = units
        self._chunks = chunks
        self._places = {key: place for place, key in enumerate(units)}
        self._chunk_of = {unit.flag.key: chunk for chunk in chunks for unit in chunk.units}
        self._remembered: dict[tuple[str, ...], Plan] = {}

    def plan(self, flag_keys: Sequence[str]) -> Plan:
        """Return what evaluates the named flags and all they depend on, skipping unknown keys."""
        known = tuple([key for key in flag_keys if key in self._units])
        plan = self._remembered.get(known)
        if plan is None:
            plan = self._make(known)
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)), None)
            self._remembered[known] = plan
        return plan

    def _make(self, known: tuple[str, ...]) -> Plan:
        if not known:
            return _nothing
        ordered = order(self._units, known, lambda unit: unit.flag.dependencies)
        wanted = {unit.flag.key: unit for unit in ordered}
        if not self._order_matters(ordered):
            return self._by_chunks(wanted)
        return _one_by_one(ordered)

    def _order_matters(self, ordered: Sequence[Unit]) -> bool:
        """Tell whether a condition would see other results in this order than in the chunks'."""
        here = {unit.flag.key: place for place, unit in enumerate(ordered)}
        there = self._places
        return any(
            None in unit.refers_to
            or any(
                (here[other] < place) != (there[other] < there[unit.flag.key])
                for other in unit.refers_to
                if other in here
            )
            for place, unit in enumerate(ordered)
        )

    def _by_chunks(self, wanted: Mapping[str, Unit]) -> Plan:
        needed = {id(self._chunk_of[key]) for key in wanted}
        functions = [chunk.function for chunk in self._chunks if id(chunk) in needed]

        def evaluate(user: dict[str, Any]) -> list[Outcome]:
            results = _Visible(wanted)
            found = {
                outcome.flag_key: outcome
                for function in functions
                for outcome in function(user, results)
            }
            return [found[key] for key in wanted if key in found]

        return evaluate


def _nothing(_: dict[str, Any]) -> list[Outcome]:
    return []


def _one_by_one(ordered: Sequence[Unit]) -> Plan:
    def evaluate(user: dict[str, Any]) -> list[Outcome]:
        results: Results = {}
        outcomes = []
        for unit in ordered:
            outcome = unit.slow(user, results)
            if outcome is not None:
                results[unit.flag.key] = outcome.view
                outcomes.append(outcome)
        return outcomes

    return evaluate
