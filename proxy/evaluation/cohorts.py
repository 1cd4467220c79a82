"""Which cohorts a flag targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy.evaluation.model import Condition, Flag
from proxy.evaluation.operators import ANY_OPERATORS, NONE

USER: Final = "User"
"""The group type that users are of."""

COHORT_IDS: Final = "cohort_ids"


class Target(NamedTuple):
    """A cohort that conditions ask for; `group_type` is `User` for a cohort of users."""

    group_type: str
    cohort_id: str


def targets(flag: Flag) -> frozenset[Target]:
    """Return every cohort that the flag must know in order to be evaluated."""
    return frozenset(
        Target(group_type, value)
        for segment in flag.segments
        for conditions in segment.conditions or ()
        for condition in conditions
        for group_type in _group_type(condition)
        for value in condition.values
        if value not in {"", NONE}  # no cohort has such an id
    )


def _group_type(condition: Condition) -> Iterator[str]:
    """Give the type whose cohorts a condition asks for; nothing if it asks for none."""
    selector = condition.selector
    if condition.op not in ANY_OPERATORS or len(selector) < 3 or selector[-1] != COHORT_IDS:
        return
    if selector[1] == "user":
        yield USER
    elif "groups" in selector:
        yield selector[2]
