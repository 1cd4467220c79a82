"""From a given value to the typed one that a leaf holds, or the reason why not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import UNSET

from proxy.secret import Secret
from proxy.settings.mistakes import shown
from proxy.settings.secrets_from_files import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.settings.given import Given, Layer
    from proxy.settings.leaves import Leaf, Path
    from proxy.settings.mistakes import Mistakes

WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
LONGEST_NUMBER = 20
VISIBLE = re.compile(r"[!-~]+")
NOT_SHOWN = "a value that is not shown"


class _WrongError(Exception):
    """The value does not fit; the text says what was expected and what is there."""


def typed_values(known: Iterable[Leaf], given: Layer, mistakes: Mistakes) -> dict[Path, Any]:
    """Return the typed value of each leaf that was given; what does not fit is a mistake."""
    values: dict[Path, Any] = {}
    for leaf in known:
        if leaf.path in given:
            value = typed_value(leaf, given[leaf.path], mistakes)
            if value is not UNSET:
                values[leaf.path] = value
    return values


def typed_value(leaf: Leaf, given: Given, mistakes: Mistakes) -> Any:
    """Return the value as the leaf's type; UNSET after a mistake."""
    value = given.value
    try:
        if given.in_file:
            text = read_secret(value)
            value = text.split() if leaf.kind == "secrets" else text
        if leaf.kind == "secrets":
            return _secrets(leaf, given, value, mistakes)
        if leaf.kind == "texts":
            return _texts(leaf, given, value, mistakes)
        return _scalar(leaf, value)
    except _WrongError as error:
        mistakes.add(given.where, f"expected {leaf.expected}, got {error}")
    except ValueError as error:
        mistakes.add(given.where, str(error))
    return UNSET


def _secrets(leaf: Leaf, given: Given, value: Any, mistakes: Mistakes) -> Any:
    if not isinstance(value, list):
        raise _WrongError(NOT_SHOWN)
    keys: dict[Secret, None] = {}
    fits = True
    for at, part in enumerate(value):
        try:
            keys[_secret(leaf, part)] = None
        except _WrongError as error:
            where = given.where if given.in_file else f"{given.where}[{at}]"
            mistakes.add(where, f"expected a key of visible ASCII characters, got {error}")
            fits = False
    return tuple(keys) if fits else UNSET


def _texts(leaf: Leaf, given: Given, value: Any, mistakes: Mistakes) -> Any:
    if not isinstance(value, list):
        mistakes.add(given.where, f"expected a list, each {leaf.expected}, got {shown(value)}")
        return UNSET
    texts: dict[str, None] = {}
    fits = True
    for at, part in enumerate(value):
        try:
            texts[_matching(leaf, part)] = None
        except _WrongError as error:
            mistakes.add(f"{given.where}[{at}]", f"expected {leaf.expected}, got {error}")
            fits = False
    return tuple(texts) if fits else UNSET


def _scalar(leaf: Leaf, value: Any) -> Any:
    match leaf.kind:
        case "integer":
            return _integer(leaf, value)
        case "boolean":
            return _one_of({"true": True, "false": False}, value)
        case "choice":
            return _one_of({own: own for own in leaf.choices} | dict(leaf.aliases), value)
        case "url":
            return _url(value)
        case "secret":
            return _secret(leaf, value)
        case _:
            return _matching(leaf, value)


def _integer(leaf: Leaf, value: Any) -> int:
    text = _text(value)
    if not WHOLE_NUMBER.fullmatch(text) or len(text) > LONGEST_NUMBER:
        raise _WrongError(shown(value))
    assert leaf.least is not None, f"{leaf.key} has limits"
    assert leaf.greatest is not None, f"{leaf.key} has limits"
    if not leaf.least <= int(text) <= leaf.greatest:
        raise _WrongError(shown(value))
    return int(text)


def _one_of(choices: Mapping[str, Any], value: Any) -> Any:
    text = str(value).lower() if isinstance(value, bool) else _text(value).lower()
    for name, meaning in choices.items():
        if name.lower() == text:
            return meaning
    raise _WrongError(shown(value))


def _url(value: Any) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise _WrongError(shown(value)) from None
    if not fits or not VISIBLE.fullmatch(text) or set(text) & set("?#@\\"):
        raise _WrongError(shown(value))
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _secret(leaf: Leaf, value: Any) -> Secret:
    if not isinstance(value, str):
        raise _WrongError("no text")
    text = value.strip()
    if not text:
        raise _WrongError("a blank text")
    if not VISIBLE.fullmatch(text) or (leaf.pattern and not re.search(leaf.pattern, text)):
        raise _WrongError(NOT_SHOWN)
    return Secret(text)


def _matching(leaf: Leaf, value: Any) -> str:
    text = _text(value)
    fits = text.isprintable() and text and (not leaf.pattern or re.search(leaf.pattern, text))
    if not fits:
        raise _WrongError(shown(value))
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongError(shown(value))
    return value.strip()
