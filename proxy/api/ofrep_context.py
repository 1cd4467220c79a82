"""From OpenFeature's evaluation context to a user, or to why there is none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from proxy.api.requests import user_from_body
from proxy.errors import BadRequest

GENERAL: Final = "GENERAL"
PARSE_ERROR: Final = "PARSE_ERROR"
INVALID_CONTEXT: Final = "INVALID_CONTEXT"
TARGETING_KEY: Final = "targetingKey"
PROPERTIES: Final = "user_properties"
IDS: Final = ("user_id", "device_id")
FIELDS: Final = frozenset(
    {
        *IDS,
        PROPERTIES,
        *("country", "city", "region", "dma", "language", "platform", "version", "os"),
        *("device_manufacturer", "device_brand", "device_model", "carrier", "library"),
        *("ip_address", "groups", "group_properties", "cohort_ids", "group_cohort_ids"),
        *("web_exp_id", "first_seen", "device_category", "referring_url", "cookie", "browser"),
        *("landing_url", "url_param", "persisted_url_param", "user_agent"),
    }
)
"""The fields of Amplitude's user; whatever else a context holds is a property of the user."""


class Mistake(NamedTuple):
    """Why a request cannot be answered, in OFREP's words."""

    status: int
    code: str
    details: str


def read_user(
    body: bytes, deepest: int, key_is: Literal["user_id", "device_id"]
) -> dict[str, Any] | Mistake:
    """Return the user whom a request is about, or the Mistake in it.

    `key_is` tells which id a targeting key is; an id that the context names itself comes first.
    """
    try:
        context = user_from_body(body, deepest).get("context")
    except BadRequest as mistake:
        code = PARSE_ERROR if mistake.status == 400 else GENERAL
        return Mistake(mistake.status, code, mistake.reason)
    if context is None:
        return {}
    if not isinstance(context, dict):
        return Mistake(400, INVALID_CONTEXT, "context is not an object")
    return _user(context, key_is)


def _user(context: dict[str, Any], key_is: str) -> dict[str, Any] | Mistake:
    user = {name: value for name, value in context.items() if name in FIELDS}
    properties = {name: value for name, value in context.items() if name not in FIELDS}
    key = properties.pop(TARGETING_KEY, None)
    if isinstance(key, bool | dict | list):
        return Mistake(400, INVALID_CONTEXT, "targetingKey is not a string")
    if key not in (None, "") and user.get(key_is) in (None, ""):
        user[key_is] = key
    own = user.get(PROPERTIES)
    if own is not None and not isinstance(own, dict):
        return Mistake(400, INVALID_CONTEXT, "user_properties is not an object")
    if properties:
        user[PROPERTIES] = properties | (own or {})
    groups = user.get("groups")
    if isinstance(groups, dict):
        user["groups"] = {group_type: _names(names) for group_type, names in groups.items()}
    return user


def _names(names: Any) -> Any:
    """Return a single name as the list of one that the engine knows."""
    return [names] if isinstance(names, str) else names


def has_no_id(user: Mapping[str, Any]) -> bool:
    """Tell whether nothing says who the user is."""
    return all(user.get(name) in (None, "") for name in IDS)
