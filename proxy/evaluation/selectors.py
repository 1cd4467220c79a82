"""Selectors: a walk from the evaluation target to one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def select(selector: Sequence[str], target: Any) -> Any:
    """Walk one name at a time; None for an empty selector and where there is no such member.

    Only maps have members: a list, a text, a number or null offers none.
    """
    if not selector:
        return None
    for name in selector:
        if not isinstance(target, Mapping):
            return None
        target = target.get(name)
    return target
