"""Patterns of a deployment: each text compiled once, each flag named when its time runs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from proxy.evaluation.model import Flag
from proxy.evaluation.patterns.budget import Budget
from proxy.evaluation.patterns.pattern import Pattern, compile_pattern

Report: TypeAlias = Callable[[str], None]
PATTERN_OPERATORS = frozenset({"regex match", "regex does not match"})


class Watch:
    """Knows which flag is matching, so that a pattern which runs out of time can be blamed.

    One watch serves all versions of a deployment; `report` is called with the flag's key. The
    patterns share its `budget`, which whoever evaluates begins anew each time. `timeouts` counts
    matches that were given up: only then may the same user be answered otherwise another time.
    """

    __slots__ = ("budget", "flag_key", "report", "timeouts")

    def __init__(self, report: Report) -> None:
        self.report = report
        self.flag_key = ""
        self.budget = Budget()
        self.timeouts = 0

    def ran_out(self) -> None:
        """Blame the flag that is matching."""
        self.timeouts += 1
        self.report(self.flag_key)


class FlagPatterns:
    """The patterns of one flag."""

    __slots__ = ("_flag_key", "_watch", "compiled")

    def __init__(self, flag: Flag, known: Mapping[str, Pattern], watch: Watch) -> None:
        """Take from `known` what the deployment has compiled already."""
        self._flag_key = flag.key
        self._watch = watch
        self.compiled: dict[str, Pattern] = {}
        for segment in flag.segments:
            for conditions in segment.conditions or ():
                for condition in conditions:
                    if condition.op in PATTERN_OPERATORS:
                        for text in condition.values:
                            self._compile(text, known)

    def _compile(self, text: str, known: Mapping[str, Pattern]) -> None:
        watch = self._watch
        pattern = self.compiled.get(text) or known.get(text)
        self.compiled[text] = pattern or compile_pattern(text, watch.ran_out, watch.budget)

    @property
    def problems(self) -> dict[str, str]:
        """Why some of the patterns match nothing, by their text."""
        return {
            text: pattern.problem
            for text, pattern in self.compiled.items()
            if pattern.problem is not None
        }

    def match(self, text: str, value: str) -> bool:
        """Tell whether a whole value matches one of the flag's patterns."""
        self._watch.flag_key = self._flag_key
        return self.compiled[text].matches(value)

    def matcher_of(self, text: str) -> Callable[[str], bool]:
        """Return the test of a whole value by one of the flag's patterns."""
        watch, flag_key, matches = self._watch, self._flag_key, self.compiled[text].matches

        def holds(value: str) -> bool:
            watch.flag_key = flag_key
            return matches(value)

        return holds
