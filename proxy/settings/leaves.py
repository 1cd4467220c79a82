"""The leaves of the schema: each setting that takes a value, as one flat description."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, inspect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str, ...]
Kind = Literal["integer", "boolean", "choice", "text", "texts", "url", "secret", "secrets"]
Built = TypeVar("Built", bound=Struct)

FILE = "File"
FILE_ENVIRONMENT = "_FILE"


class Leaf(Struct, frozen=True, kw_only=True):
    """One setting: where it is written, what it may hold and what it means.

    Of a list of texts, `pattern` and `form` describe each of them.
    """

    path: Path
    kind: Kind
    meaning: str
    environment: str
    default: Any = UNSET
    default_in_words: str | None = None
    least: int | None = None
    greatest: int | None = None
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    pattern: str | None = None
    form: str | None = None
    blank_is_unset: bool = False
    unused: str | None = None

    @property
    def key(self) -> str:
        """The path as it is written in a document, dots between the parts."""
        return ".".join(self.path)

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return isinstance(self.default, UnsetType)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown, and may come from a file."""
        return self.kind in {"secret", "secrets"}

    def means_none(self, value: Any) -> bool:
        """Whether a value is as good as none; a blank text is, but not where a key is wanted."""
        blank = isinstance(value, str) and not value.strip()
        optional = self.default is None and not self.is_secret
        return value is None or (blank and (optional or self.blank_is_unset))

    @property
    def expected(self) -> str:
        """What it may hold, in words."""
        if self.kind == "integer":
            return f"a whole number from {self.least} to {self.greatest}"
        words = {
            "boolean": "true or false",
            "choice": f"one of {', '.join(self.choices)}",
            "text": "a text of printable characters",
            "texts": "a text of printable characters",
            "url": "an http or https URL with a host, and no user, query or fragment",
            "secret": "a key of visible ASCII characters",
            "secrets": "a list of keys of visible ASCII characters",
        }
        return self.form or words[self.kind]


@cache
def leaves(struct: type[Struct]) -> tuple[Leaf, ...]:
    """Return all settings below a struct of the schema, in the order in which they stand there."""
    return tuple(_leaves(struct, ()))


def _leaves(struct: type[Struct], above: Path) -> Iterator[Leaf]:
    for field in msgspec.structs.fields(struct):
        path = (*above, field.encode_name)
        described = inspect.type_info(field.type)
        if isinstance(described, inspect.StructType):
            yield from _leaves(described.cls, path)
        else:
            default = UNSET if field.required else field.default
            yield _leaf(path, described, default)


def _leaf(path: Path, described: inspect.Type, default: Any) -> Leaf:
    assert isinstance(described, inspect.Metadata), f"{path} says what it means"
    extra = described.extra or {}
    kind = _without_none(described.type)
    return Leaf(
        path=path,
        kind=_kind(kind),
        meaning=(described.extra_json_schema or {})["description"],
        environment=extra.get("environment", environment_name(path)),
        default=default,
        default_in_words=extra.get("default"),
        least=getattr(kind, "ge", None),
        greatest=getattr(kind, "le", None),
        choices=_choices(kind),
        aliases=extra.get("aliases", {}),
        pattern=extra.get("pattern") or getattr(kind, "pattern", None),
        form=extra.get("expected"),
        blank_is_unset=extra.get("blank_is_unset", False),
        unused=extra.get("unused"),
    )


def _without_none(described: inspect.Type) -> inspect.Type:
    if isinstance(described, inspect.UnionType):
        (described,) = (t for t in described.types if not isinstance(t, inspect.NoneType))
    return described


KINDS: dict[type[inspect.Type], Kind] = {
    inspect.IntType: "integer",
    inspect.BoolType: "boolean",
    inspect.LiteralType: "choice",
    inspect.StrType: "text",
    inspect.CustomType: "secret",
}


def _kind(described: inspect.Type) -> Kind:
    if isinstance(described, inspect.VarTupleType):
        return "texts" if isinstance(described.item_type, inspect.StrType) else "secrets"
    is_url = "://" in (getattr(described, "pattern", None) or "")
    return "url" if is_url else KINDS[type(described)]


def _choices(described: inspect.Type) -> tuple[str, ...]:
    if isinstance(described, inspect.LiteralType):
        return tuple(str(value) for value in described.values)
    return ()


def environment_name(path: Path) -> str:
    """Return `AMPLITUDE_` and the path, as in `AMPLITUDE_REDIS_SCAN_LIMIT`."""
    parts = [re.sub(r"(?=[A-Z])", "_", part).upper() for part in path]
    return "_".join(["AMPLITUDE", *parts])


def build(struct: type[Built], values: Mapping[Path, Any]) -> Built:
    """Make the struct out of the values of its leaves; what has no value takes its default."""
    return _build(struct, values, ())


def _build(struct: type[Built], values: Mapping[Path, Any], above: Path) -> Built:
    parts: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        path = (*above, field.encode_name)
        described = inspect.type_info(field.type)
        if isinstance(described, inspect.StructType):
            parts[field.name] = _build(described.cls, values, path)
        elif path in values:
            parts[field.name] = values[path]
    return struct(**parts)
