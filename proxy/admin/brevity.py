"""Values of a user, short enough to be told as often as conditions look at them. Pure."""

from __future__ import annotations

from typing import Any, Final, final

from proxy.evaluation.results import encode

LONGEST: Final = 240
MORE: Final = "…"


@final
class Brief:
    """Cuts values whose JSON is longer than `LONGEST`; remembers what it made of long ones."""

    def __init__(self) -> None:
        # The value stays beside what was made of it: an id is its own only while it lives.
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the value, or its beginning and an ellipsis: of a list the first items."""
        if isinstance(value, str):
            return value if len(value) <= LONGEST else value[:LONGEST] + MORE
        if not isinstance(value, list | dict):
            return value
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = (value, _cut(value))
        return known[1]


def _cut(value: Any) -> Any:
    written = encode(value)
    if len(written) <= LONGEST:
        return value
    return (
        _first(value)
        if isinstance(value, list)
        else written[:LONGEST].decode(errors="ignore") + MORE
    )


def _first(items: list[Any]) -> list[Any]:
    room, first = LONGEST, []
    for one in items:
        room -= len(encode(one)) + 1
        if room < 0:
            break
        first.append(one)
    return [*first, MORE]
