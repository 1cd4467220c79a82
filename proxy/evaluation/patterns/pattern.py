"""One compiled pattern: whether a whole text matches, in bounded time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import re2
import regex
from re2 import _re2  # the public wrapper takes five times as long as the match itself

from proxy.evaluation.patterns.backtracking import write_backtracking
from proxy.evaluation.patterns.budget import QUICK_SECONDS, SLOW_SECONDS, Budget
from proxy.evaluation.patterns.linear import literal, write_linear
from proxy.evaluation.patterns.parse import Parsed, parse
from proxy.evaluation.patterns.scanner import join_surrogates
from proxy.evaluation.patterns.syntax import PatternRefused
from proxy.evaluation.patterns.width import size, width

PatternMatcher = Callable[[str, str], bool]
"""Takes a pattern and a text; whether the whole text matches."""

MAX_PATTERN = 16_384
"""The longest pattern taken, in characters: compiling is some microseconds for each."""

MAX_TEXT = 32_768
"""The longest text matched, in characters; Amplitude cuts a property at 1,024.

Even a linear engine takes milliseconds for a megabyte, and a request may ask hundreds of
patterns about the same text. A longer text counts as a time-out.
"""

MAX_BACKTRACKED = 8_192
"""The longest text that the backtracking engine takes; it looks at its time limit rarely."""

_MAX_MEMORY = 4 << 20
"""Bytes that RE2 may use for one pattern, program and cached states together."""

_MAX_SIZE = 20_000
"""States that RE2 is asked to build; it would take long to find that many more do not fit."""

_CACHED = 2_048
_SMALL = 400
"""What the second engine compiles in about a millisecond, in characters."""

_BOTH_ENDS = _re2.RE2.Anchor.ANCHOR_BOTH
_WIDE = 256


@dataclass(slots=True)
class _Engines:
    """What was compiled of one pattern; shared by all who use the same pattern."""

    problem: str | None = None
    literal: str | None = None
    linear: Any = None
    ascii_only: bool = False
    width: int = 0
    backtracking: Any = None
    source: str | None = field(default=None, repr=False)


class Pattern:
    """A pattern compiled once; `problem` says why it matches nothing, None when it is sound."""

    __slots__ = ("_budget", "_engines", "_on_timeout", "_own_budget", "problem")

    def __init__(
        self, engines: _Engines, on_timeout: Callable[[], None], budget: Budget | None
    ) -> None:
        self._engines = engines
        self._on_timeout = on_timeout
        self._own_budget = budget is None
        self._budget = budget or Budget()
        self.problem = engines.problem

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches; False when that takes too long. Raises nothing."""
        engines = self._engines
        if engines.literal is not None:
            return text == engines.literal or join_surrogates(text) == engines.literal
        if self.problem is not None:
            return False
        if len(text) > MAX_TEXT:
            return self._timed_out()
        budget = self._budget
        if self._own_budget:
            budget.begin()
        if engines.linear is not None and (not engines.ascii_only or text.isascii()):
            try:
                data = text.encode()
            except UnicodeEncodeError:
                return self._backtrack(text)
            cost = engines.width * len(data)
            if cost <= budget.steps:
                budget.steps -= cost
                found: int = engines.linear.Match(_BOTH_ENDS, data, 0, len(data))[0][0]
                return found == 0
        return self._backtrack(text)

    def _backtrack(self, text: str) -> bool:
        budget = self._budget
        if len(text) > MAX_BACKTRACKED:
            return self._timed_out()
        text = join_surrogates(text)
        program = self._engines.backtracking
        if program is None:
            program = self._compile_late()
        if program is None or not budget.quick:
            return self._timed_out()
        found = _fullmatch(program, text, QUICK_SECONDS)
        if found is None:
            budget.quick -= 1
            found = _fullmatch(program, text, SLOW_SECONDS) if budget.take_slow() else None
        return self._timed_out() if found is None else found

    def _compile_late(self) -> Any:
        """Compile for the second engine a pattern that rarely needs it, if that is quick."""
        engines = self._engines
        if engines.source is None or not self._budget.take_slow():
            return None
        try:
            engines.backtracking = _compile_backtracking(engines.source)
        except PatternRefused:
            engines.backtracking = None
        engines.source = None
        return engines.backtracking

    def _timed_out(self) -> bool:
        self._on_timeout()
        return False


def _fullmatch(program: Any, text: str, seconds: float) -> bool | None:
    """Tell whether the whole text matches; None when that takes more time or memory.

    The engine keeps the interpreter's lock. If it let go of it, each match would wait for the
    lock while another thread computes, and the time limit, which is on the CPU time of the whole
    process, would pass meanwhile.
    """
    try:
        return program.fullmatch(text, timeout=seconds, concurrent=False) is not None
    except (TimeoutError, MemoryError):
        return None


def _nobody() -> None:
    pass


def compile_pattern(
    pattern: str, on_timeout: Callable[[], None] = _nobody, budget: Budget | None = None
) -> Pattern:
    """Compile a pattern of java.util.regex; never raises, a refused one matches nothing.

    `on_timeout` is called for each match given up. Patterns that are asked in one evaluation
    share a `budget`, whose owner calls `begin` before each; without one the pattern is bounded
    by itself alone.
    """
    return Pattern(_engines(pattern), on_timeout, budget)


@functools.lru_cache(_CACHED)
def _engines(pattern: str) -> _Engines:
    if len(pattern) > MAX_PATTERN:
        return _Engines(problem=f"longer than {MAX_PATTERN} characters")
    try:
        return _compile(parse(pattern))
    except PatternRefused as refused:
        return _Engines(problem=str(refused))
    except RecursionError:
        return _Engines(problem="nested too deeply for the caller's stack")


def _compile(parsed: Parsed) -> _Engines:
    only = literal(parsed.tree)
    if only is not None:
        return _Engines(literal=only)
    engines = _Engines(width=width(parsed.tree))
    linear = write_linear(parsed.tree) if size(parsed.tree) <= _MAX_SIZE else None
    if linear is not None:
        engines.linear = _compile_linear(linear.text)
        engines.ascii_only = linear.ascii_only
    try:
        source = write_backtracking(parsed.tree, parsed.group_count if parsed.refers else 0)
        if engines.linear is None or engines.ascii_only or engines.width > _WIDE:
            engines.backtracking = _compile_backtracking(source)
        elif len(source) <= _SMALL:
            engines.source = source
    except PatternRefused:
        if engines.linear is None:
            raise
    return engines


def _compile_linear(text: str) -> Any:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.never_capture = True
    program = _re2.RE2(text.encode(), options)
    return program if program.ok() else None


def _compile_backtracking(source: str) -> Any:
    try:
        return regex.compile(source, regex.V1, cache_pattern=False)
    except (regex.error, RecursionError, MemoryError) as error:
        raise PatternRefused(f"not supported: {error}") from None
