"""Documents as written: YAML or JSON read into mappings, lists and texts, with line numbers.

Scalars stay texts (`null` and JSON's booleans apart): what `3546`, `007` or `no` means is decided
by the setting that takes it, not by the rules of YAML. So a key of digits stays what it was.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct

from proxy.settings.mistakes import shown_key

if TYPE_CHECKING:
    from proxy.settings.mistakes import Mistakes

LARGEST_FILE_BYTES = 1_048_576
MOST_VALUES = 200_000
DEEPEST = 32
NULLS = {"", "~", "null", "Null", "NULL"}
TAGS = {f"tag:yaml.org,2002:{n}" for n in ("map", "seq", "str", "int", "float", "bool", "null")}

Step = str | int
Place = tuple[Step, ...]


class Document(Struct, frozen=True):
    """A file as written: its root value, and the line of each value (JSON has none)."""

    file: str
    root: Any
    lines: dict[Place, int]
    exists: bool = True

    def where(self, place: Place) -> str:
        """Return `file:line: path` of a place (or the line of what should hold it)."""
        above = (self.lines.get(place[:length]) for length in range(len(place), -1, -1))
        line = next((line for line in above if line), None)
        position = f"{self.file}:{line}" if line else self.file
        return f"{position}: {path_text(place)}" if place else position


class _UnreadableError(Exception):
    """The document cannot be read at all; says why, without any of its content."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as written, so that keys given twice can be seen."""


def path_text(place: Place) -> str:
    """Return a place as people write it: `projects[0].apiKey`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{shown_key(step)}"
    return text.removeprefix(".")


def printable(file: str) -> str:
    """Return a file name that any terminal can show."""
    return file.encode("utf-8", "backslashreplace").decode()


def read_bytes(file: str, limit: int) -> bytes:
    """Return the file's bytes; raises ValueError with the reason, which names no content."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("cannot be read: not a file name") from None
    if len(content) > limit:
        raise ValueError(f"is longer than {limit} bytes")
    return content


def read_document(file: str, mistakes: Mistakes) -> Document | None:
    """Read a YAML or JSON file, by its extension; None after a mistake that leaves nothing."""
    name = printable(file)
    read = {".yaml": _yaml, ".yml": _yaml, ".json": _json}.get(Path(file).suffix.lower())
    if read is None:
        mistakes.add(name, "the extension must be .yaml, .yml or .json")
        return None
    try:
        return _Reader(name, mistakes).document(read(_text(file)))
    except _UnreadableError as error:
        mistakes.add(name, str(error))
        return None


def _text(file: str) -> str:
    try:
        return read_bytes(file, LARGEST_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"is not UTF-8 (at byte {error.start})") from None
    except ValueError as error:
        raise _UnreadableError(str(error)) from None


def _yaml(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise _UnreadableError(_yaml_problem(text, error)) from None
    except RecursionError:
        raise _UnreadableError(f"is nested deeper than {DEEPEST} levels") from None
    except (ValueError, OverflowError):
        raise _UnreadableError("is not YAML: it holds an escape that is no character") from None


def _yaml_problem(text: str, error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "is not YAML: it holds characters that YAML does not allow"
    # The parser quotes what it found, which may be part of a key: keep its own words only.
    problem = re.sub(r"'[^']{3,}'", "'...'", re.sub(r"'<([^']*)>'", r"\1", str(error.problem)))
    mark = error.problem_mark
    line = text.splitlines()[mark.line : mark.line + 1]
    hint = "; YAML is indented by spaces, not tabs" if "\t" in "".join(line) else ""
    return f"is not YAML: line {mark.line + 1}, column {mark.column + 1}: {problem}{hint}"


def _json(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except json.JSONDecodeError as error:
        reason = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise _UnreadableError(reason) from None
    except RecursionError:
        raise _UnreadableError(f"is nested deeper than {DEEPEST} levels") from None


class _Reader:
    """Turns what the parsers give into plain values, within bounds, and notes their lines."""

    def __init__(self, file: str, mistakes: Mistakes) -> None:
        self._document = Document(file, None, {})
        self._mistakes = mistakes
        self._left = MOST_VALUES

    def document(self, parsed: Any) -> Document:
        """Return the document; raises _UnreadableError when it exceeds a bound."""
        return Document(self._document.file, self._plain(parsed, ()), self._document.lines)

    def _plain(self, parsed: Any, place: Place) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _UnreadableError(
                f"holds more than {MOST_VALUES} values, those behind aliases counted at each use"
            )
        if len(place) > DEEPEST:
            raise _UnreadableError(f"is nested deeper than {DEEPEST} levels")
        if isinstance(parsed, yaml.Node):
            self._note(parsed, place)
        match parsed:
            case yaml.MappingNode():
                return self._mapping(self._pairs(parsed, place), place)
            case _Pairs():
                return self._mapping(parsed, place)
            case yaml.SequenceNode(value=parts) | list(parts):
                return [self._plain(part, (*place, at)) for at, part in enumerate(parts)]
            case yaml.ScalarNode():
                return None if parsed.style is None and parsed.value in NULLS else parsed.value
            case _:
                return parsed

    def _note(self, node: yaml.Node, place: Place) -> None:
        self._document.lines.setdefault(place, node.start_mark.line + 1)
        if node.tag not in TAGS:
            self._mistakes.add(self._document.where(place), "YAML tags are not supported here")

    def _pairs(self, node: yaml.MappingNode, place: Place) -> list[tuple[str, Any]]:
        pairs = []
        for key, part in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _UnreadableError(f"line {key.start_mark.line + 1}: a key must be a text")
            self._document.lines[*place, key.value] = key.start_mark.line + 1
            pairs.append((key.value, part))
        return pairs

    def _mapping(self, pairs: list[tuple[str, Any]], place: Place) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, part in pairs:
            inner = (*place, key)
            if key in plain:
                self._mistakes.add(self._document.where(inner), "the key is given more than once")
            plain[key] = self._plain(part, inner)
        return plain
