"""Units: one flag config made ready for code generation, and kept for as long as it is the same.

What generated source needs of a flag is worked out here, once for each version of its config: its
outcomes, its conditions with their values parsed, its buckets as bounds of the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.codegen_buckets import Step, steps
from proxy.evaluation.codegen_conditions import MatcherOf, Test, prepare
from proxy.evaluation.codegen_selections import Node, chain, finds_nothing
from proxy.evaluation.cohorts import targets
from proxy.evaluation.compiler_patterns import FlagPatterns
from proxy.evaluation.interpreter import bucketed_variant
from proxy.evaluation.model import Condition, Flag, Segment
from proxy.evaluation.operators import predicate
from proxy.evaluation.outcomes import Outcome
from proxy.evaluation.selectors import select
from proxy.evaluation.users import evaluation_context

HEAVY: Final = 600  # the source of a flag of more weight would take too long to compile

Alternatives: TypeAlias = tuple[tuple[Test, ...], ...]
Predicate: TypeAlias = tuple[tuple[str, ...], Callable[[Any], bool]]
SlowFlag: TypeAlias = Callable[[dict[str, Any], Mapping[str, Any]], Outcome | None]


class Branch(msgspec.Struct, frozen=True, gc=False):
    """A segment, ready. `alternatives` None takes in everybody.

    Where `selector` is None, all whom it takes in are given `default`. Else the steps of the
    bucket decide, and `default` is for those without a bucketing value.
    """

    alternatives: Alternatives | None
    selector: tuple[str, ...] | None
    salt: bytes
    steps: tuple[Step[Outcome], ...]
    default: Outcome | None

    @property
    def may_give_nothing(self) -> bool:
        """Whether somebody it takes in may get no variant."""
        return self.default is None or any(step.outcome is None for step in self.steps)

    @property
    def decides(self) -> bool:
        """Whether no user gets past it."""
        return self.alternatives is None and not self.may_give_nothing

    def reads(self) -> Iterator[Node]:
        """Give what it reads, each node after those it needs."""
        for tests in self.alternatives or ():
            for test in tests:
                yield from chain(test.derived, test.selector)
        if self.selector is not None:
            yield from chain("bytes", self.selector)


class Unit:
    """One flag, ready to be put into a chunk."""

    __slots__ = (
        "__weakref__",
        "_slow",
        "branches",
        "flag",
        "key_hash",
        "patterns",
        "raw",
        "refers_to",
        "targets",
        "weight",
    )

    def __init__(self, flag: Flag, raw: bytes, patterns: FlagPatterns) -> None:
        self.flag = flag
        self.raw = raw
        self.patterns = patterns
        self.refers_to = frozenset(_references(flag))
        self.targets = targets(flag)
        self.key_hash = bucket_hash("", flag.key)
        self.weight = 1 + sum(map(_weight, flag.segments))
        self.branches: tuple[Branch, ...] | None = None
        if self.weight > HEAVY:
            self.weight = 1
        else:
            self.branches = tuple(_branches(flag, patterns.matcher_of))
        self._slow: SlowFlag | None = None

    @property
    def slow(self) -> SlowFlag:
        """The flag as a function made of the obvious parts, for where source does not do."""
        if self._slow is None:
            self._slow = slow_flag(self.flag, self.patterns)
        return self._slow


def _weight(segment: Segment) -> int:
    """Estimate how much source a segment makes."""
    weight = 1 + sum(len(c.selector) for tests in segment.conditions or () for c in tests)
    if segment.bucket is not None:
        weight += len(segment.bucket.selector)
        weight += sum(1 + len(a.distributions) for a in segment.bucket.allocations)
    return weight + len(segment.conditions or ())


def _references(flag: Flag) -> Iterator[str | None]:
    """Give the keys of the flags whose results it reads; None for all of them at once."""
    for segment in flag.segments:
        selectors = [c.selector for tests in segment.conditions or () for c in tests]
        if segment.bucket is not None:
            selectors.append(segment.bucket.selector)
        for selector in selectors:
            if selector[:1] == ("result",):
                yield selector[1] if len(selector) > 1 else None


def _outcomes(flag: Flag, index: int) -> dict[str | None, Outcome]:
    """Return the outcomes that a segment can give, by the key of the variant in the config."""
    segment = flag.segments[index]
    named = {} if segment.variant is None else {segment.variant: None}
    if segment.bucket is not None:
        for allocation in segment.bucket.allocations:
            named |= dict.fromkeys(d.variant for d in allocation.distributions)
    return {
        name: Outcome.of(flag, index, variant)
        for name in named
        if (variant := flag.variants.get(name)) is not None
    }


def _branches(flag: Flag, matcher_of: MatcherOf) -> Iterator[Branch]:
    for index, segment in enumerate(flag.segments):
        alternatives = _alternatives(segment, matcher_of)
        if alternatives == ():
            continue
        branch = _branch(segment, _outcomes(flag, index), alternatives)
        if branch.default is None and all(step.outcome is None for step in branch.steps):
            continue
        yield branch
        if branch.decides:
            return


def _branch(
    segment: Segment, outcomes: Mapping[str | None, Outcome], alternatives: Alternatives | None
) -> Branch:
    default = outcomes.get(segment.variant)
    bucket = segment.bucket
    if bucket is not None and not finds_nothing(bucket.selector):
        answers = tuple(steps(bucket, outcomes, default))
        if any(step.outcome is not default for step in answers):
            salt = f"{bucket.salt}/".encode("utf-8", "replace")
            return Branch(alternatives, bucket.selector, salt, answers, default)
    return Branch(alternatives, None, b"", (), default)


def _alternatives(segment: Segment, matcher_of: MatcherOf) -> Alternatives | None:
    """Return the conditions without those that are settled: None always holds, () never."""
    if segment.conditions is None:
        return None
    found = []
    for conditions in segment.conditions:
        tests = _tests(conditions, matcher_of)
        if tests == ():
            return None
        if tests is not None:
            found.append(tests)
    return tuple(found)


def _tests(conditions: tuple[Condition, ...], matcher_of: MatcherOf) -> tuple[Test, ...] | None:
    """Return the conditions that are not settled; None when one of them never holds."""
    tests = []
    for condition in conditions:
        test = prepare(condition, matcher_of)
        if test is None:
            return None
        if not finds_nothing(condition.selector):
            tests.append(test)
        elif not test.of_null:
            return None
    return tuple(tests)


def slow_flag(flag: Flag, patterns: FlagPatterns) -> SlowFlag:
    """Return a function that evaluates one flag, made of the obvious parts."""
    segments = [
        (segment, _predicates(segment, patterns), _outcomes(flag, index))
        for index, segment in enumerate(flag.segments)
    ]

    def evaluate(user: dict[str, Any], results: Mapping[str, Any]) -> Outcome | None:
        target = {"context": evaluation_context(user), "result": results}
        for segment, alternatives, outcomes in segments:
            if alternatives is not None and not any(
                all(holds(select(selector, target)) for selector, holds in tests)
                for tests in alternatives
            ):
                continue
            outcome = outcomes.get(bucketed_variant(segment, target))
            if outcome is not None:
                return outcome
        return None

    return evaluate


def _predicates(segment: Segment, patterns: FlagPatterns) -> list[list[Predicate]] | None:
    if segment.conditions is None:
        return None
    return [
        [(c.selector, predicate(c.op, c.values, patterns.match)) for c in conditions]
        for conditions in segment.conditions
    ]
