"""Compiled deployments: all flags of one deployment, ready to evaluate any user.

A compiled deployment never changes. The next one is made from the new body and the last one: what
did not change is taken over, and a flag config that cannot be used keeps its last good version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final

from proxy.evaluation.cohorts import Target
from proxy.evaluation.compiler import Chunk, cut
from proxy.evaluation.compiler_patterns import FlagPatterns, Report, Watch
from proxy.evaluation.compiler_plans import Plans
from proxy.evaluation.compiler_units import Unit
from proxy.evaluation.decode import FlagRefused, decode_flag, raw_flag_key, split_flags
from proxy.evaluation.dependencies import on_or_behind_cycles, order
from proxy.evaluation.model import Flag, Problem
from proxy.evaluation.outcomes import Outcome, answer, answer_v1
from proxy.evaluation.patterns.pattern import Pattern

__all__ = [
    "CompiledDeployment",
    "Outcome",
    "answer",
    "answer_v1",
    "compile_deployment",
    "compile_in_steps",
]

REUSED_PER_STEP: Final = 100
Steps = Generator[None, None, "CompiledDeployment"]


def _ignore(_: str) -> None:
    """Tell nobody."""


class CompiledDeployment:
    """All flags of a deployment that are in force, ready to evaluate any user.

    `flags` and `raw_flags` are by key, in the config's order; `problems` are the flag configs that
    could not be used and `broken_patterns` the patterns that match nothing, each with its reason.
    `cohorts` are the cohorts that each flag targets, by the key of those that target any; `targets`
    is all of them, `targeted_types` their group types.
    `body` is the JSON array of the flags in force, as it came where nothing was left out or kept;
    `digest` is its SHA-256 in hex, `version` the beginning of that.
    """

    def __init__(
        self, units: Mapping[str, Unit], chunks: Sequence[Chunk], watch: Watch, intake: _Intake
    ) -> None:
        """Take the units in the config's order and the chunks in evaluation order."""
        self.flags: Mapping[str, Flag] = {key: unit.flag for key, unit in units.items()}
        self.raw_flags: Mapping[str, bytes] = {key: unit.raw for key, unit in units.items()}
        self.problems: tuple[Problem, ...] = tuple(intake.problems)
        self.broken_patterns: tuple[Problem, ...] = tuple(
            Problem(flag_key=key, reason=reason, kept=True)
            for key, unit in units.items()
            for reason in unit.patterns.problems.values()
        )
        self.cohorts: Mapping[str, frozenset[Target]] = {
            key: unit.targets for key, unit in units.items() if unit.targets
        }
        self.targets = frozenset[Target]().union(*self.cohorts.values())
        self.targeted_types = frozenset(target.group_type for target in self.targets)
        self.body = intake.body if not self.problems else _array(self.raw_flags.values())
        self.digest = hashlib.sha256(self.body).hexdigest()
        self.version = self.digest[:12]
        self.units = units
        self.chunks = tuple(chunks)
        self.watch = watch
        self._functions = [chunk.function for chunk in chunks]
        # Without patterns there is no budget to begin.
        matching = any(unit.patterns.compiled for unit in units.values())
        self._begin = watch.budget.begin if matching else None
        self._only = self._functions[0] if len(self._functions) == 1 else None
        evaluation_order = {u.flag.key: u for chunk in chunks for u in chunk.units}
        self._plans = Plans(evaluation_order, self.chunks)

    def evaluate(self, user: dict[str, Any], flag_keys: Sequence[str] = ()) -> list[Outcome]:
        """Return the outcomes for a user in evaluation order; of all flags when no keys are given.

        Otherwise of the named flags and of all that they depend on; unknown keys do not count.
        Raises nothing for any parsed JSON object.
        """
        if self._begin is not None:
            self._begin()
        if flag_keys:
            return self._plans.plan(flag_keys)(user)
        if self._only is not None:
            return self._only(user, {})
        results: dict[str, Any] = {}
        outcomes: list[Outcome] = []
        for function in self._functions:
            outcomes += function(user, results)
        return outcomes


def compile_deployment(
    body: bytes,
    previous: CompiledDeployment | None = None,
    *,
    on_regex_timeout: Report = _ignore,
) -> CompiledDeployment:
    """Compile a JSON array of flag configs, taking over from `previous` what did not change.

    Raises ValueError if the body is no JSON array. A flag config that cannot be used is left out,
    or its last good version kept, and named in `problems`; so are flags on or behind a dependency
    cycle. `on_regex_timeout` is called with the key of a flag whose pattern ran out of time.
    """
    steps = compile_in_steps(body, previous, on_regex_timeout)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            compiled: CompiledDeployment = done.value
            return compiled


def compile_in_steps(
    body: bytes, previous: CompiledDeployment | None = None, on_regex_timeout: Report = _ignore
) -> Steps:
    """Do what `compile_deployment` does, yielding after every few milliseconds of work.

    For a thread beside an event loop: whoever runs the steps should let go of the interpreter in
    between. The generator returns the compiled deployment.
    """
    watch = Watch(on_regex_timeout) if previous is None else previous.watch
    intake = _Intake(body, previous, watch)
    yield
    yield from intake.take_in()
    units = intake.in_force()
    yield
    chunks = yield from _chunks(units, previous)
    watch.report = on_regex_timeout
    return CompiledDeployment(units, chunks, watch, intake)


class _Intake:
    """The flag configs of a body on their way to units."""

    def __init__(self, body: bytes, previous: CompiledDeployment | None, watch: Watch) -> None:
        self.body = body
        self.problems: list[Problem] = []
        self._raws = split_flags(body)
        self._watch = watch
        self._previous: Mapping[str, Unit] = {} if previous is None else previous.units
        self._units: dict[str, Unit] = {}

    def take_in(self) -> Generator[None, None, None]:
        """Make a unit of each flag config, or find the one that stays."""
        unchanged = {unit.raw: unit for unit in self._previous.values()}
        patterns: dict[str, Pattern] = {}
        for unit in self._previous.values():
            patterns |= unit.patterns.compiled
        for index, raw in enumerate(self._raws):
            known = unchanged.get(raw)
            if known is not None:
                self._units[known.flag.key] = known
            else:
                self._make(index, raw, patterns)
            if known is None or index % REUSED_PER_STEP == 0:
                yield

    def _make(self, index: int, raw: bytes, patterns: dict[str, Pattern]) -> None:
        try:
            flag = decode_flag(raw)
            unit = Unit(flag, raw, FlagPatterns(flag, patterns, self._watch))
        except FlagRefused as refused:
            self._refuse(index, raw, str(refused))
        except Exception as error:  # noqa: BLE001  one bad flag never takes the others down
            self._refuse(index, raw, f"cannot be compiled: {type(error).__name__}")
        else:
            patterns |= unit.patterns.compiled
            self._units[flag.key] = unit

    def _refuse(self, index: int, raw: bytes, reason: str) -> None:
        key = raw_flag_key(raw)
        if key is not None and key in self._previous:
            self._units.setdefault(key, self._previous[key])
        kept = key is not None and key in self._units
        name = f"(flag {index} of the array)" if key is None else key
        self.problems.append(Problem(flag_key=name, reason=reason, kept=kept))

    def in_force(self) -> dict[str, Unit]:
        """Return the units without those on a dependency cycle or behind one."""
        flags = {key: unit.flag for key, unit in self._units.items()}
        entangled = on_or_behind_cycles(flags)
        for key in flags:
            if key in entangled:
                reason = "is on a dependency cycle or depends on a flag that is"
                self.problems.append(Problem(flag_key=key, reason=reason))
        return {key: unit for key, unit in self._units.items() if key not in entangled}


def _chunks(
    units: Mapping[str, Unit], previous: CompiledDeployment | None
) -> Generator[None, None, list[Chunk]]:
    """Cut the units into chunks and compile those that are new."""
    ordered = order(units, (), lambda unit: unit.flag.dependencies)
    references = frozenset[str | None]().union(*(unit.refers_to for unit in ordered))
    known = {} if previous is None else {(c.units, c.referred): c for c in previous.chunks}
    chunks = []
    for members in cut(ordered):
        keys = frozenset(unit.flag.key for unit in members)
        referred = keys if None in references else keys & references
        chunk = known.get((members, referred))
        if chunk is None:
            chunk = Chunk(members, referred)
            yield
        chunks.append(chunk)
    return chunks


def _array(raws: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(raws) + b"]"
