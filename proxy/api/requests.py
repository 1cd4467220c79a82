"""Users, flag keys and tracking wishes, read in every form the SDKs send. Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from proxy.api.limits import has_too_many_parts, is_too_deep
from proxy.api.messages import refuse
from proxy.evaluation.users import parse_json, parse_user

TO_STANDARD = bytes.maketrans(b"-_", b"+/")
BLANKS = b" \t\r\n"
UNTRACKED = frozenset({"no-track", "read-only"})
MAX_QUERY_FIELDS = 1000
UNRESERVED = re.compile("%(2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
MALFORMED = re.compile("%(?![0-9A-Fa-f]{2})")


def split_target(target: str) -> tuple[str, str]:
    """Return path and query of a request target, origin form or absolute form.

    The path is percent-encoded still and starts with exactly one slash (`*` stays itself).
    """
    if target[:1] != "/" and target != "*":
        _, _, rest = target.partition("://")
        slash = rest.find("/")
        mark = rest.find("?")
        if slash < 0 or -1 < mark < slash:
            target = "/" + rest[mark:] if mark >= 0 else "/"
        else:
            target = rest[slash:]
    path, _, query = target.partition("?")
    if "#" in target:
        path, query = path.partition("#")[0], query.partition("#")[0]
    if path[:2] == "//":
        path = "/" + path.lstrip("/")
    return path, query


def plainly_spelt(path: str) -> str:
    """Return a path with its letters, digits and `-._~` as they are, however they came.

    All other characters stay encoded: an encoded slash separates nothing.
    """
    return UNRESERVED.sub(lambda found: chr(int(found[1], 16)), path)


def decoded(part: str) -> str:
    """Percent-decode a part of a path, once; 400 when it is not percent-encoded UTF-8."""
    if MALFORMED.search(part):
        refuse("The path is not percent-encoded")
    try:
        text = unquote(part, errors="strict")
        text.encode()
    except UnicodeError:
        refuse("The path is not UTF-8")
    return text


def query_fields(query: str) -> dict[str, str]:
    """Return the first value of each query parameter; 400 when it is not UTF-8 or has too many."""
    if not query:
        return {}
    fields: dict[str, str] = {}
    try:
        query.encode()
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        refuse("Invalid query")
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def decode_base64(text: str) -> bytes:
    """Decode either alphabet, padded or not, blanks ignored; ValueError if it is neither."""
    plain = text.encode("ascii").translate(TO_STANDARD, BLANKS).rstrip(b"=")
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)


def user_from_header(headers: Mapping[str, str], deepest: int) -> dict[str, Any]:
    """Return the user of `X-Amp-Exp-User`, the empty one without it; 400 if it is broken."""
    return user_from_base64(headers.get("x-amp-exp-user", ""), deepest)


def user_from_base64(encoded: str, deepest: int) -> dict[str, Any]:
    """Return the user that a header's text is, the empty one of an empty text; 400 if broken."""
    if not encoded:
        return {}
    try:
        text = decode_base64(encoded)
    except ValueError:
        refuse("X-Amp-Exp-User is not base64")
    return _user(text, deepest, "X-Amp-Exp-User is not a JSON object")


def user_from_body(body: bytes, deepest: int) -> dict[str, Any]:
    """Return the user of a body, the empty one of an empty body; 400 if it is not a JSON object."""
    if not body or body.isspace():
        return {}
    return _user(body, deepest, "The body is not a JSON object")


def user_from_query(fields: Mapping[str, str], deepest: int) -> dict[str, Any]:
    """Return the user of `context`, in which `user_id` and `device_id` override; 400 if broken."""
    context = fields.get("context", "")
    user = _user(context.encode(), deepest, "context is not a JSON object") if context else {}
    for name in ("user_id", "device_id"):
        if name in fields:
            user[name] = fields[name]
    return user


def _user(text: bytes, deepest: int, complaint: str) -> dict[str, Any]:
    if has_too_many_parts(text):
        refuse("Too many values in JSON", 413)
    try:
        user = parse_user(text)
    except (ValueError, RecursionError):
        refuse(complaint)
    if is_too_deep(text, user, deepest):
        refuse("JSON nested too deeply")
    return user


def flag_keys(headers: Mapping[str, str], query: str, most: int) -> list[str]:
    """Return the keys asked for, empty for all: the header if there is one, else the query."""
    encoded = headers.get("x-amp-exp-flag-keys")
    keys = _keys_of_header(encoded) if encoded else keys_of_query(query) if query else []
    if len(keys) > most:
        refuse("Too many flag keys")
    return keys


def keys_of_query(query: str) -> list[str]:
    """Return the keys of `flag_key` and `flag_keys` together, each a comma-separated list."""
    if "flag_key" not in query:
        return []
    fields = query_fields(query)
    text = f"{fields.get('flag_key', '')},{fields.get('flag_keys', '')}"
    return list(dict.fromkeys(key for part in text.split(",") if (key := part.strip())))


def _keys_of_header(encoded: str) -> list[str]:
    try:
        keys = parse_json(decode_base64(encoded))
    except (ValueError, RecursionError):
        refuse("X-Amp-Exp-Flag-Keys is not base64 of JSON")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        refuse("X-Amp-Exp-Flag-Keys is not an array of strings")
    return keys


def wants_exposures(headers: Mapping[str, str]) -> bool:
    """Tell whether `X-Amp-Exp-Exposure-Track` asks to report exposures; by default it does not."""
    wish = headers.get("x-amp-exp-exposure-track")
    return wish is not None and wish.strip().lower() == "track"


def wants_tracking(headers: Mapping[str, str]) -> bool:
    """Tell whether `X-Amp-Exp-Track` lets this evaluation be reported; by default it does."""
    wish = headers.get("x-amp-exp-track")
    return wish is None or wish == "track" or wish.strip().lower() not in UNTRACKED


def names_tag(asked: str | None, tag: str) -> bool:
    """Tell whether `If-None-Match` names an entity tag, weak or strong, or takes any."""
    if not asked:
        return False
    return asked.strip() == "*" or any(
        each.strip().removeprefix("W/") == f'"{tag}"' for each in asked.split(",")
    )
