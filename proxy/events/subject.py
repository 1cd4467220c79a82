"""Whom an event is about, read from a user as analytics wants it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from proxy.evaluation.text import text
from proxy.events.canonical import LONGEST_TEXT

MOST_GROUP_TYPES: Final = 5
MOST_GROUP_NAMES: Final = 10


class Subject(NamedTuple):
    """Whom an event is about."""

    user_id: str | None
    device_id: str | None
    groups: Mapping[str, list[str]] = {}


def id_text(value: Any) -> str | None:
    """Return an id as text: strings as they are, numbers in decimal; None when it is no id."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return text(value)
    return None


def group_names(groups: Any) -> dict[str, list[str]]:
    """Return a user's groups as lists of names: the first 5 types with any, 10 names in all."""
    found: dict[str, list[str]] = {}
    room = MOST_GROUP_NAMES
    for group_type, names in groups.items() if isinstance(groups, Mapping) else ():
        if not room or len(found) == MOST_GROUP_TYPES:
            break
        if not 0 < len(group_type) <= LONGEST_TEXT:
            continue
        texts = (id_text(name) for name in (names if isinstance(names, list) else [names]))
        usable = [name for name in texts if name and len(name) <= LONGEST_TEXT][:room]
        if usable:
            found[group_type] = usable
            room -= len(usable)
    return found
