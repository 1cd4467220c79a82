"""Conditions made ready for generated source: a fixed form of expression and the values it needs.

In a form, `s` is a selected text (None: no value; LISTED: a list, whose members are `m`, else
None). A form is our own text; what comes from a config is bound to the names that fill it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from operator import ge, gt, le, lt
from typing import Any, Final, NamedTuple, TypeAlias

from proxy.evaluation.model import Condition
from proxy.evaluation.numbers import java_double, total_order
from proxy.evaluation.operators import (
    NEGATED,
    ORDERINGS,
    SET_OPERATORS,
    TEXT_OPERATORS,
    boolean_word,
    holds_for_null,
    list_test,
    utf16_order,
)
from proxy.evaluation.versions import Version, parse_version

TextTest: TypeAlias = Callable[[str], bool]
MatcherOf: TypeAlias = Callable[[str], TextTest]

IS: Final = "({s} in {0} or {m} is not None and not {1}({m}))"
IS_NOT: Final = "({s} not in {0} if {m} is None else not {1}({m}))"
TEXT: Final = "({0}({s}) if {m} is None else {1}({m}))"
LIST: Final = "({m} is not None and {0}({m}))"
NOT_LIST: Final = "({m} is not None and not {0}({m}))"
NULL_OR_LIST: Final = "({s} is None or {m} is not None and {0}({m}))"
NULL_OR_NOT_LIST: Final = "({s} is None or {m} is not None and not {0}({m}))"

SHORT: Final = 64  # longer texts are not remembered: what clients send must not fill the memory
REMEMBERED: Final = 4096


class Test(NamedTuple):
    """One condition, ready; `of_null` is its answer where the selector finds nothing."""

    selector: tuple[str, ...]
    form: str
    bound: tuple[Any, ...]
    of_null: bool


def prepare(condition: Condition, matcher_of: MatcherOf) -> Test | None:
    """Return the ready form of a condition; None for an unknown operator, which never holds."""
    op, values = condition.op, condition.values
    of_null = holds_for_null(op, values)
    if op in {"is", "is not"}:
        form, bound = _equality(op, values, of_null=of_null)
    elif op in {"set contains any", "set does not contain any"}:
        # Disjoint is the negated operator, hence the "not" in the other's form.
        plain, null_too = (LIST, NULL_OR_LIST) if op in NEGATED else (NOT_LIST, NULL_OR_NOT_LIST)
        form, bound = null_too if of_null else plain, (_accepted(values).isdisjoint,)
    elif op in SET_OPERATORS:
        form, bound = NULL_OR_LIST if of_null else LIST, (list_test(op, values),)
    elif op in TEXT_OPERATORS:
        form, bound = TEXT, _text_tests(_text_test(op, values, matcher_of), of_null=of_null)
    else:
        return None
    return Test(condition.selector, form, bound, of_null)


def _spellings(word: str) -> frozenset[str]:
    """Return all texts that equal `word` when upper-cased: the long s counts as an S."""
    texts = [""]
    for letter in word:
        letters = [letter, letter.lower(), *(["\u017f"] if letter == "S" else [])]
        texts = [text + spelt for text in texts for spelt in letters]
    return frozenset(texts)


BOOLEANS: Final = {word: _spellings(word) for word in ("TRUE", "FALSE")}


def _accepted(values: Iterable[str]) -> frozenset[str]:
    """Return every text that `is` one of the values: themselves, and booleans in any case."""
    words = filter(None, map(boolean_word, values))
    return frozenset(values).union(*(BOOLEANS[word] for word in words))


def _equality(op: str, values: Iterable[str], *, of_null: bool) -> tuple[str, tuple[Any, ...]]:
    texts = _accepted(values)
    if op == "is":
        return IS, (texts | {None} if of_null else texts, texts.isdisjoint)
    return IS_NOT, (texts if of_null else texts | {None}, texts.issuperset)


def _text_tests(holds: TextTest, *, of_null: bool) -> tuple[Any, ...]:
    """Return the tests that fill the form TEXT: of a text or null, and of any member of a list."""

    def text_or_null(text: str | None) -> bool:
        return of_null if text is None else holds(text)

    def any_member(members: tuple[str, ...]) -> bool:
        return any(map(holds, members))

    return text_or_null, any_member


def _text_test(op: str, values: tuple[str, ...], matcher_of: MatcherOf) -> TextTest:
    if op in NEGATED:
        positive = _text_test(NEGATED[op], values, matcher_of)
        return lambda text: not positive(text)
    if op == "contains":
        return _contains(values)
    if op == "regex match":
        return _matches(tuple(map(matcher_of, values)))
    if op in ORDERINGS:
        return _ordered(ORDERINGS[op], values, _number)
    return _ordered(ORDERINGS[op.removeprefix("version ")], values, _version)


def _contains(values: tuple[str, ...]) -> TextTest:
    parts = tuple(value.lower() for value in values)
    if len(parts) == 1:
        (part,) = parts
        return lambda text: part in text.lower()

    def holds(text: str) -> bool:
        lowered = text.lower()
        return any(part in lowered for part in parts)

    return holds


def _matches(matchers: tuple[TextTest, ...]) -> TextTest:
    return lambda text: any(matches(text) for matches in matchers)


@functools.lru_cache(maxsize=REMEMBERED)
def _number(text: str) -> tuple[bool, float, float] | None:
    number = java_double(text)
    return None if number is None else total_order(number)


@functools.lru_cache(maxsize=REMEMBERED)
def _version(text: str) -> Version | None:
    return parse_version(text)


def _ordered(
    compare: Callable[[Any, Any], bool],
    values: tuple[str, ...],
    transform: functools._lru_cache_wrapper[Any],
) -> TextTest:
    """Compare with the one value that decides: the largest for "less", the smallest else."""
    if not values:
        return lambda _: False
    decisive = max if compare in {lt, le} else min
    assert compare in {lt, le, gt, ge}
    afresh = transform.__wrapped__
    ranks = [rank for value in values if (rank := afresh(value)) is not None]
    of_texts = decisive(map(utf16_order, values))
    if not ranks:
        return lambda text: compare(utf16_order(text), of_texts)
    of_ranks = decisive(ranks)

    def holds(text: str) -> bool:
        rank = transform(text) if len(text) <= SHORT else afresh(text)
        if rank is None:
            return compare(utf16_order(text), of_texts)
        return compare(rank, of_ranks)

    return holds
