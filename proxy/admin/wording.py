"""Conditions as short text, and the bounds on all text that comes from flag configs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from proxy.evaluation.cohorts import COHORT_IDS
from proxy.evaluation.model import Condition

LONGEST_NAME: Final = 80
LONGEST_VALUE: Final = 60
MOST_VALUES: Final = 10
WORDS: Final = {
    "less": "is less than",
    "less or equal": "is at most",
    "greater": "is greater than",
    "greater or equal": "is at least",
    "version less": "is a version before",
    "version less or equal": "is at most version",
    "version greater": "is a version after",
    "version greater or equal": "is at least version",
    "regex match": "matches",
    "regex does not match": "does not match",
}
COHORT_WORDS: Final = {
    "set contains any": "is in any of the cohorts",
    "set does not contain any": "is in none of the cohorts",
}


def name_text(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name that is safe to show: printable, and at most `longest` characters."""
    plain = name if name.isprintable() else "".join(map(_printable, name[: longest + 1]))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def selector_text(selector: Sequence[str]) -> str:
    """Name what a selector selects, without the roots that all have."""
    match tuple(selector):
        case ():
            named = "(nothing)"
        case ("context", "user", *rest):
            named = ".".join(rest) or "user"
        case ("context", "groups", *rest):
            named = ".".join(["group", *rest])
        case ("result", flag, "key"):
            named = f"variant of flag {flag}"
        case ("result", flag, *rest) if rest:
            named = f"{'.'.join(rest)} of flag {flag}"
        case _:
            named = ".".join(selector)
    return name_text(named)


def condition_text(condition: Condition) -> str:
    """Say in a few words what a condition asks for; at most some 800 characters."""
    words = WORDS.get(condition.op, condition.op)
    subject = selector_text(condition.selector)
    if condition.selector[-1:] == (COHORT_IDS,) and condition.op in COHORT_WORDS:
        groups = condition.selector[1:2] == ("groups",)
        subject = f"group.{name_text('.'.join(condition.selector[2:-1]))}" if groups else "user"
        words = COHORT_WORDS[condition.op]
    return f"{subject} {name_text(words)} {values_text(condition.values)}"


def values_text(values: Collection[str]) -> str:
    """Name the first values, and how many more there are."""
    shown = [name_text(value, LONGEST_VALUE) or "“”" for value in list(values)[:MOST_VALUES]]
    more = len(values) - len(shown)
    return (", ".join(shown) or "(nothing)") + (f" and {more} more" if more else "")


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
