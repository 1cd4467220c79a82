"""What generated source may call, beside the values of its flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mmh3 import mmh3_32_uintdigest

from proxy.evaluation.codegen_conditions import number_rank, version_rank
from proxy.evaluation.lists import members
from proxy.evaluation.memberships import Memberships
from proxy.evaluation.outcomes import Outcome
from proxy.evaluation.selectors import select
from proxy.evaluation.text import text
from proxy.evaluation.users import evaluation_context, group_contexts

LISTED: Final = object()  # stands where a text would be, when the value is a list
_TEXTS: Final = {str}
NULL: Final = object()  # stands where memberships would be, when there is no value
EMPTY: Final[Mapping[str, Any]] = {}


def read(value: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return text and members of a value: (text, None), (LISTED, members) or (None, None)."""
    if value.__class__ is list and set(map(type, value)) == _TEXTS:
        return LISTED, tuple(dict.fromkeys(value))
    if value.__class__ is Memberships:
        value = value.selected()
        if value is None:
            return None, None
    listed = members(value)
    return (text(value), None) if listed is None else (LISTED, listed)


def cohorts(value: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return what conditions on cohorts see of a value that is no memberships."""
    if value is None:
        return NULL, ()
    _, listed = read(value)
    return None, listed


def encoded(value: Any) -> bytes:
    """Return a bucketing value as it is hashed; b"" where it is null or empty."""
    written = text(value)
    return b"" if written is None else written.encode("utf-8", "replace")


def groups(user: dict[str, Any]) -> Mapping[str, Any]:
    """Return the group contexts of a user."""
    return group_contexts(user) if user.get("groups") else EMPTY


def odd(selector: tuple[str, ...], user: dict[str, Any], results: Mapping[str, Any]) -> Any:
    """Select in the obvious way, for the few selectors that name a whole tree."""
    return select(selector, {"context": evaluation_context(user), "result": results})


def present(outcomes: Iterable[Outcome | None]) -> list[Outcome]:
    """Return the outcomes of those flags that have one."""
    return [outcome for outcome in outcomes if outcome is not None]


RUNTIME: Final[dict[str, Any]] = {
    "__builtins__": {},
    "EMPTY": EMPTY,
    "Memberships": Memberships,
    "NULL": NULL,
    "cohorts": cohorts,
    "dict": dict,
    "encoded": encoded,
    "groups": groups,
    "hashed": mmh3_32_uintdigest,
    "number": number_rank,
    "odd": odd,
    "present": present,
    "read": read,
    "str": str,
    "version": version_rank,
}
