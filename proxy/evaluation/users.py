"""From the JSON of a user to the context that selectors walk."""

from __future__ import annotations

import json  # noqa: TID251  msgspec refuses lone surrogates and very long integers
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.evaluation.memberships import Memberships
from proxy.evaluation.numbers import read_number

_DECODER = msgspec.json.Decoder(float_hook=read_number)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN = b"0" * 19  # fewer digits always fit 64 bits
_LONG_INTEGER = re.compile(rb"(?:\A|[\s\[:,])-?[0-9]{19}")

_GROUP_MEMBERS = frozenset({"groups", "group_properties", "group_cohort_ids"})


def parse_json(body: bytes | msgspec.Raw) -> Any:
    """Read strict JSON; whole numbers within 64 bits become ints (`1e3` too), the others floats.

    Raises ValueError with a short reason that holds none of the content.
    """
    plain = bytes(body)
    if _LONG_RUN in plain.translate(_DIGITS_TO_ZERO) and _LONG_INTEGER.search(plain):
        return _parse_slowly(plain)
    try:
        return _DECODER.decode(plain)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except msgspec.DecodeError as error:
        if _SURROGATE_ESCAPE.search(plain):
            return _parse_slowly(plain)
        raise ValueError(str(error)) from None


def _parse_slowly(body: bytes) -> Any:
    """Read what the fast decoder refuses or reads otherwise; just as strict."""
    try:
        return json.loads(
            body.decode(),
            parse_int=read_number,
            parse_float=read_number,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"JSON is malformed: {error.msg} (character {error.pos})") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON is malformed: {name} is no JSON value")


def parse_user(body: bytes) -> dict[str, Any]:
    """Read a user; raises ValueError with a short reason when the body is not a JSON object."""
    user = parse_json(body)
    if not isinstance(user, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004  callers name one error
    return user


def evaluation_context(user: Mapping[str, Any]) -> dict[str, Any]:
    """Give the `context` root: the user without its group members, and the groups by type."""
    if not user:
        return {}
    context: dict[str, Any] = {
        "user": {name: value for name, value in user.items() if name not in _GROUP_MEMBERS}
    }
    groups = group_contexts(user)
    if groups:
        context["groups"] = groups
    return context


def group_contexts(user: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give, for each group type with a usable name, its name, properties and cohorts.

    A type counts when its value is a list that starts with a text; only that first name matters.
    """
    properties = user.get("group_properties")
    cohorts = user.get("group_cohort_ids")
    contexts: dict[str, dict[str, Any]] = {}
    for group_type, name in first_names(user):
        context: dict[str, Any] = {"group_name": name}
        of_name = of_group(properties, group_type, name)
        if isinstance(of_name, Mapping) and of_name:
            context["group_properties"] = of_name
        ids = of_group(cohorts, group_type, name)
        if isinstance(ids, Memberships):
            context["cohort_ids"] = ids.of_group()
        elif isinstance(ids, list) and ids:
            context["cohort_ids"] = ids
        contexts[group_type] = context
    return contexts


def first_names(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give each group type that has a usable name, with that name."""
    groups = user.get("groups")
    if isinstance(groups, Mapping):
        for group_type, names in groups.items():
            if isinstance(names, list) and names and isinstance(names[0], str):
                yield group_type, names[0]


def of_group(facts: Any, group_type: str, name: str) -> Any:
    """Return what a user's facts on groups say of one group; None where they say nothing."""
    of_type = facts.get(group_type) if isinstance(facts, Mapping) else None
    return of_type.get(name) if isinstance(of_type, Mapping) else None


def plain(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user with lists where memberships stand, for whoever may look at all of it."""
    plain_user = dict(user)
    ids = user.get("cohort_ids")
    if isinstance(ids, Memberships):
        plain_user["cohort_ids"] = ids.listed()
    facts = user.get("group_cohort_ids")
    for group_type, name in first_names(user):
        ids = of_group(facts, group_type, name)
        if isinstance(ids, Memberships):
            # Only the first name of a type matters, so nothing else of it is kept.
            of_types = plain_user["group_cohort_ids"]
            plain_user["group_cohort_ids"] = {**of_types, group_type: {name: ids.listed()}}
    return plain_user
