"""The operators: a condition's `op` and `values` as a test of one selected value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import ge, gt, le, lt
from typing import Any, TypeAlias, TypeVar

from proxy.evaluation.lists import members
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.numbers import java_double, total_order
from proxy.evaluation.text import text
from proxy.evaluation.versions import parse_version

PatternMatcher: TypeAlias = Callable[[str, str], bool]
"""Tells whether a pattern matches a whole text; a broken pattern matches nothing."""

TextTest: TypeAlias = Callable[[str], bool]
ListTest: TypeAlias = Callable[[tuple[str, ...]], bool]

_Key = TypeVar("_Key")
_Compare: TypeAlias = Callable[[Any, Any], bool]

NONE = "(none)"
"""The value that stands for null, in `values` only."""

NEGATED = {
    "is not": "is",
    "does not contain": "contains",
    "regex does not match": "regex match",
    "set is not": "set is",
    "set does not contain": "set contains",
    "set does not contain any": "set contains any",
}
"""Each negated operator, with the one that it negates."""

ORDERINGS: dict[str, _Compare] = {
    "less": lt,
    "less or equal": le,
    "greater": gt,
    "greater or equal": ge,
}

TEXT_OPERATORS = frozenset(
    {"is", "is not", "contains", "does not contain", "regex match", "regex does not match"}
    | ORDERINGS.keys()
    | {f"version {name}" for name in ORDERINGS}
)
SET_OPERATORS = frozenset(
    {"set is", "set is not", "set contains", "set does not contain"}
    | {"set contains any", "set does not contain any"}
)


ANY_OPERATORS = frozenset({"set contains any", "set does not contain any"})
"""Those that ask for a few members of a list; conditions on cohorts use them."""


def predicate(op: str, values: Sequence[str], match: PatternMatcher) -> Callable[[Any], bool]:
    """Give the test that a condition makes of its selected value; an unknown `op` never holds."""
    of_null = holds_for_null(op, values)
    if op in SET_OPERATORS:
        of_list = list_test(op, values)
        by_ids = _asks_for_ids(op, values)
        negated = op in NEGATED

        def set_holds(value: Any) -> bool:
            if value.__class__ is Memberships:
                if by_ids:
                    held: bool = value.any_of(values)
                    return held is not negated
                value = value.selected()
            if value is None:
                return of_null
            listed = members(value)
            return listed is not None and of_list(listed)

        return set_holds
    if op in TEXT_OPERATORS:
        of_text = text_test(op, values, match)

        def text_holds(value: Any) -> bool:
            if value.__class__ is Memberships:
                value = value.selected()
            if value is None:
                return of_null
            listed = members(value)
            return of_text(text(value) or "") if listed is None else any(map(of_text, listed))

        return text_holds
    return _never


def _never(_: Any) -> bool:
    return False


def _asks_for_ids(op: str, values: Sequence[str]) -> bool:
    """Tell whether all that matters of a list is whether it has one of the very values."""
    return op in ANY_OPERATORS and NONE not in values and not any(map(boolean_word, values))


def holds_for_null(op: str, values: Iterable[str]) -> bool:
    """Tell whether the operator holds for null, where only `(none)` among the values matters."""
    if op == "regex match":
        return False
    if op in ("regex does not match", "set is not"):
        return True
    if op in NEGATED:
        return NONE not in values
    return NONE in values and (op in TEXT_OPERATORS or op in SET_OPERATORS)


def text_test(op: str, values: Sequence[str], match: PatternMatcher) -> TextTest:
    """Give the test of one text by an operator of `TEXT_OPERATORS`."""
    if op in NEGATED:
        return _negate(text_test(NEGATED[op], values, match))
    if op == "is":
        return is_one_of(values)
    if op == "contains":
        return _contains(values)
    if op == "regex match":
        return _matches(values, match)
    if op in ORDERINGS:
        return _ordered(ORDERINGS[op], values, _as_number)
    return _ordered(ORDERINGS[op.removeprefix("version ")], values, parse_version)


def list_test(op: str, values: Sequence[str]) -> ListTest:
    """Give the test of a list by an operator of `SET_OPERATORS`; the list has no repeats."""
    if op in NEGATED:
        return _negate(list_test(NEGATED[op], values))
    wanted = frozenset(values)
    if op == "set is":
        return lambda listed: wanted == set(listed)
    if op == "set contains":
        return lambda listed: len(listed) >= len(wanted) and all(map(is_one_of(listed), wanted))
    return lambda listed: any(map(is_one_of(listed), wanted))


def _negate(test: Callable[[_Key], bool]) -> Callable[[_Key], bool]:
    return lambda tested: not test(tested)


def boolean_word(plain: str) -> str | None:
    """Give `TRUE` or `FALSE` for these words in any case; None for any other text."""
    if len(plain) not in (4, 5):
        return None
    word = plain.upper()
    return word if word in ("TRUE", "FALSE") else None


def is_one_of(values: Iterable[str]) -> TextTest:
    """Give the test of `is`: the exact text, or a boolean in any case when `values` has one."""
    exact = frozenset(values)
    words = frozenset(filter(None, map(boolean_word, exact)))
    if not words:
        return exact.__contains__

    def holds(plain: str) -> bool:
        word = boolean_word(plain)
        return plain in exact if word is None else word in words

    return holds


def _contains(values: Iterable[str]) -> TextTest:
    parts = [value.lower() for value in values]

    def holds(plain: str) -> bool:
        lowered = plain.lower()
        return any(part in lowered for part in parts)

    return holds


def _matches(patterns: Sequence[str], match: PatternMatcher) -> TextTest:
    return lambda plain: any(match(pattern, plain) for pattern in patterns)


def _as_number(plain: str) -> tuple[bool, float, float] | None:
    number = java_double(plain)
    return None if number is None else total_order(number)


def utf16_order(plain: str) -> bytes:
    """Give the key by which texts compare: their UTF-16 code units."""
    return plain.encode("utf-16-be", "surrogatepass")


def _ordered(
    compare: _Compare, values: Sequence[str], transform: Callable[[str], Any | None]
) -> TextTest:
    """Compare what the texts stand for; the texts themselves if one side stands for nothing."""
    bounds = [bound for value in values if (bound := transform(value)) is not None]
    texts = [utf16_order(value) for value in values]

    def holds(plain: str) -> bool:
        standing_for = transform(plain) if bounds else None
        if standing_for is None:
            own = utf16_order(plain)
            return any(compare(own, other) for other in texts)
        return any(compare(standing_for, bound) for bound in bounds)

    return holds
