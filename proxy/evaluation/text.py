"""The text form of a value, which is what operators and bucketing see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from proxy.evaluation.memberships import Memberships
from proxy.evaluation.numbers import double_text

_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    ord("\f"): "\\f",
    ord("\r"): "\\r",
}


def text(value: Any) -> str | None:
    """Give the text form of a parsed JSON value; None for null."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, Memberships):
        value = value.selected()
    return None if value is None else json_text(value)


def quoted(plain: str) -> str:
    """Write a text as a JSON string, escaping only what JSON requires."""
    return f'"{plain.translate(_ESCAPES)}"'


def scalar_text(value: Any) -> str:
    """Write null, a boolean, a number or a text as it stands inside compact JSON."""
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return text(value) or ""
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def json_text(value: Any, scalar: Callable[[Any], str] = scalar_text) -> str:
    """Write a value as compact JSON, numbers in their text form; any depth of nesting will do."""
    written: list[str] = []
    open_values: list[tuple[Iterator[tuple[str, Any]], str]] = [(iter([("", value)]), "")]
    while open_values:
        rest, closing = open_values[-1]
        for before, item in rest:
            written.append(before)
            if isinstance(item, Mapping):
                written.append("{")
                open_values.append((_members(item), "}"))
                break
            if isinstance(item, list):
                written.append("[")
                open_values.append((_elements(item), "]"))
                break
            written.append(scalar(item))
        else:
            written.append(closing)
            open_values.pop()
    return "".join(written)


def _members(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    comma = ""
    for name, member in value.items():
        item = member
        if isinstance(item, Memberships):
            item = item.selected()
            if item is None:
                continue
        yield f"{comma}{quoted(name)}:", item
        comma = ","


def _elements(value: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    comma = ""
    for item in value:
        yield comma, item
        comma = ","
