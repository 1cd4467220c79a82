"""Conditions made ready for generated source: a fixed form of expression and the values it needs.

In a form, `s` is a selected text (None: no value; LISTED: a list, whose members are `m`, else
None) and `x` what was derived of the text. A form is our own text; what comes from a config is
bound to the names that fill it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from proxy.evaluation.model import Condition
from proxy.evaluation.numbers import java_double, total_order
from proxy.evaluation.operators import (
    ANY_OPERATORS,
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
CONTAINS: Final = "({0} in {x} if {x} is not None else {1}({s}, {m}))"
ORDERED: Final = "({x} %s {0} if {x} is not None else {1}({s}, {m}))"

SHORT: Final = 64  # longer texts are not remembered: what clients send must not fill the memory
REMEMBERED: Final = 4096


Derived: TypeAlias = Literal["text", "lower", "number", "version", "cohorts"]

# Of cohorts: `x` is memberships, NULL for no value, or else None; `m` are the members of a list,
# none for no value, or else None.
IN_COHORT: Final = "(not {1}({m}) if {m} is not None else {x} is not None and {x}.any_of({0}))"
NOT_IN_COHORT: Final = "({1}({m}) if {m} is not None else {x} is not None and not {x}.any_of({0}))"
NULL_OR_IN_COHORT: Final = (
    "({x} is NULL or not {1}({m}) if {m} is not None"
    " else {x} is not None and {x}.any_of_or_null({0}))"
)
NEITHER_NULL_NOR_IN_COHORT: Final = (
    "({x} is not NULL and {1}({m}) if {m} is not None"
    " else {x} is not None and not {x}.any_of_or_null({0}))"
)


class Test(msgspec.Struct, frozen=True, gc=False):
    """One condition, ready; `of_null` is its answer where the selector finds nothing."""

    selector: tuple[str, ...]
    derived: Derived
    form: str
    bound: tuple[Any, ...]
    of_null: bool


def prepare(condition: Condition, matcher_of: MatcherOf) -> Test | None:
    """Return the ready form of a condition; None for an unknown operator, which never holds."""
    op, values = condition.op, condition.values
    of_null = holds_for_null(op, values)
    derived: Derived = "text"
    if op in {"is", "is not"}:
        form, bound = _equality(op, values, of_null=of_null)
    elif op in ANY_OPERATORS and condition.selector[-1:] == ("cohort_ids",):
        derived = "cohorts"
        form, bound = _in_cohort(op, values, of_null=of_null)
    elif op in ANY_OPERATORS:
        # Disjoint is the negated operator, hence the "not" in the other's form.
        plain, null_too = (LIST, NULL_OR_LIST) if op in NEGATED else (NOT_LIST, NULL_OR_NOT_LIST)
        form, bound = null_too if of_null else plain, (_accepted(values).isdisjoint,)
    elif op in SET_OPERATORS:
        form, bound = NULL_OR_LIST if of_null else LIST, (list_test(op, values),)
    elif op not in TEXT_OPERATORS:
        return None
    elif op == "contains" and len(values) == 1:
        derived, form = "lower", CONTAINS
        bound = (values[0].lower(), _otherwise(_contains(values), of_null=of_null))
    elif op in _ORDERINGS and (ranks := _ranks(op, values)):
        sign, decisive, derived, _ = _ORDERINGS[op]
        form = ORDERED % sign
        bound = (decisive(ranks), _otherwise(_ordering(op, values), of_null=of_null))
    else:
        form, bound = TEXT, _text_tests(_text_test(op, values, matcher_of), of_null=of_null)
    return Test(condition.selector, derived, form, bound, of_null)


def _in_cohort(op: str, values: Iterable[str], *, of_null: bool) -> tuple[str, tuple[Any, ...]]:
    """Return the form and the ids to look up: first the values, then other spellings of words."""
    texts = _accepted(values)
    if op in NEGATED:
        form = NOT_IN_COHORT if of_null else NEITHER_NULL_NOR_IN_COHORT
    else:
        form = NULL_OR_IN_COHORT if of_null else IN_COHORT
    return form, (tuple(dict.fromkeys([*values, *texts])), texts.isdisjoint)


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


def _otherwise(holds: TextTest, *, of_null: bool) -> Callable[[Any, Any], bool]:
    """Return the test of what has nothing derived: null, a list, or some text."""

    def test(text: str | None, members: tuple[str, ...] | None) -> bool:
        if members is not None:
            return any(map(holds, members))
        return of_null if text is None else holds(text)

    return test


def _text_test(op: str, values: tuple[str, ...], matcher_of: MatcherOf) -> TextTest:
    if op in NEGATED:
        positive = _text_test(NEGATED[op], values, matcher_of)
        return lambda text: not positive(text)
    if op == "contains":
        return _contains(values)
    if op == "regex match":
        matchers = tuple(map(matcher_of, values))
        return lambda text: any(matches(text) for matches in matchers)
    return _ordering(op, values)


def _contains(values: tuple[str, ...]) -> TextTest:
    parts = [value.lower() for value in values]

    def holds(text: str) -> bool:
        lowered = text.lower()
        return any(part in lowered for part in parts)

    return holds


@functools.lru_cache(maxsize=REMEMBERED)
def _number(text: str) -> tuple[bool, float, float] | None:
    number = java_double(text)
    return None if number is None else total_order(number)


_version = functools.lru_cache(maxsize=REMEMBERED)(parse_version)


def number_rank(text: Any) -> tuple[bool, float, float] | None:
    """Return what orders numbers; None for what is no text or no number."""
    if text.__class__ is not str:
        return None
    return _number(text) if len(text) <= SHORT else _number.__wrapped__(text)


def version_rank(text: Any) -> Version | None:
    """Return what orders versions; None for what is no text or no version."""
    if text.__class__ is not str:
        return None
    return _version(text) if len(text) <= SHORT else parse_version(text)


_Decisive: TypeAlias = Callable[[Iterable[Any]], Any]
_RANKINGS: Final[tuple[tuple[str, Derived, Callable[[Any], Any]], ...]] = (
    ("", "number", number_rank),
    ("version ", "version", version_rank),
)
# The sign, which value decides (below any is below the largest), what is derived, and how.
_ORDERINGS: Final[dict[str, tuple[str, _Decisive, Derived, Callable[[Any], Any]]]] = {
    prefix + op: (sign, decisive, derived, rank)
    for prefix, derived, rank in _RANKINGS
    for op, sign, decisive in (
        ("less", "<", max),
        ("less or equal", "<=", max),
        ("greater", ">", min),
        ("greater or equal", ">=", min),
    )
}


def _ranks(op: str, values: tuple[str, ...]) -> list[Any]:
    *_, rank = _ORDERINGS[op]
    return [ranked for value in values if (ranked := rank(value)) is not None]


def _ordering(op: str, values: tuple[str, ...]) -> TextTest:
    """Compare what stands for something with what does, else the texts with all values."""
    if not values:
        return lambda _: False
    _, decisive, _, rank = _ORDERINGS[op]
    compare = ORDERINGS[op.removeprefix("version ")]
    of_texts = decisive(map(utf16_order, values))
    ranks = _ranks(op, values)
    of_ranks = decisive(ranks) if ranks else None

    def holds(text: str) -> bool:
        ranked = None if of_ranks is None else rank(text)
        if ranked is None:
            return compare(utf16_order(text), of_texts)
        return compare(ranked, of_ranks)

    return holds
