"""From the JSON that upstream serves to flag configs; one bad flag never takes the others down."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from proxy.evaluation.brackets import SPACE, nested_deeper, parts_of
from proxy.evaluation.model import (
    Allocation,
    Bucket,
    Condition,
    Distribution,
    Flag,
    Segment,
    Variant,
)
from proxy.evaluation.numbers import read_number


class FlagRefused(ValueError):
    """A flag config breaks the schema; the message says where and how."""


# The wire's shape. What may be a text, a bare number or a boolean stays raw until it is looked at;
# what is the customer's stays raw for good.
_NULL = msgspec.Raw(b"null")
_Texts = list[msgspec.Raw]
_Metadata = dict[str, msgspec.Raw]


class _Distribution(msgspec.Struct):
    variant: msgspec.Raw
    range: list[msgspec.Raw]


class _Allocation(msgspec.Struct):
    range: list[msgspec.Raw]
    distributions: list[_Distribution]


class _Bucket(msgspec.Struct):
    selector: _Texts
    salt: msgspec.Raw
    allocations: list[_Allocation]


class _Condition(msgspec.Struct):
    selector: _Texts
    op: msgspec.Raw
    values: _Texts


class _Segment(msgspec.Struct):
    conditions: list[list[_Condition]] | None = None
    bucket: _Bucket | None = None
    variant: msgspec.Raw = _NULL
    metadata: _Metadata | None = None


class _Variant(msgspec.Struct):
    key: msgspec.Raw
    value: msgspec.Raw = _NULL
    payload: msgspec.Raw = _NULL
    metadata: _Metadata | None = None


class _Flag(msgspec.Struct):
    key: msgspec.Raw
    variants: dict[str, _Variant]
    segments: list[_Segment]
    dependencies: _Texts | None = None
    metadata: _Metadata | None = None


_FLAG = msgspec.json.Decoder(_Flag)
_FLAGS = msgspec.json.Decoder(list[msgspec.Raw])
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_STRING = msgspec.json.Decoder(str)

_WHOLE_NUMBER = re.compile(r"-?[0-9]++(?:[eE][+-]?[0-9]++)?+")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEY = re.compile(rb'\s*"key"\s*:\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*', re.DOTALL)

DEEPEST = 256
"""Levels of nesting in a flag config: far from what any decoder down the line may choke on."""


def decode_flag(raw: bytes) -> Flag:
    """Read one flag config; raises FlagRefused when it breaks the schema.

    Members that are not known are ignored, optional ones may be null. A text may be a bare number
    or boolean and counts as its own JSON text. What is the customer's stays the text that came.
    """
    if nested_deeper(raw, DEEPEST):
        raise FlagRefused(f"nested more than {DEEPEST} deep")
    try:
        raw.decode()
        return _flag(_FLAG.decode(raw))
    except UnicodeDecodeError:
        raise FlagRefused("not UTF-8") from None
    except msgspec.DecodeError as error:
        if _SURROGATE_ESCAPE.search(raw) and not isinstance(error, msgspec.ValidationError):
            raise FlagRefused("a text holds half of a surrogate pair") from None
        raise FlagRefused(str(error)) from None


def _flag(wire: _Flag) -> Flag:
    return Flag(
        key=_text(wire.key, "key"),
        variants={key: _variant(variant) for key, variant in wire.variants.items()},
        segments=tuple(map(_segment, wire.segments)),
        dependencies=_once(_texts(wire.dependencies or (), "dependencies")),
        metadata=wire.metadata or {},
    )


def _variant(wire: _Variant) -> Variant:
    return Variant(
        key=_text(wire.key, "variant key"),
        value=_given(wire.value),
        payload=_given(wire.payload),
        metadata=wire.metadata or {},
    )


def _segment(wire: _Segment) -> Segment:
    variant = _given(wire.variant)
    return Segment(
        conditions=None
        if wire.conditions is None
        else tuple(tuple(map(_condition, conditions)) for conditions in wire.conditions),
        bucket=None if wire.bucket is None else _bucket(wire.bucket),
        variant=None if variant is None else _text(variant, "segment variant"),
        metadata=wire.metadata or {},
    )


def _condition(wire: _Condition) -> Condition:
    written = _texts(wire.values, "values")
    values = _once(written)
    return Condition(
        selector=_texts(wire.selector, "selector"),
        op=_text(wire.op, "op"),
        values=values,
        repeated=written if len(written) > len(values) else (),
    )


def _bucket(wire: _Bucket) -> Bucket:
    return Bucket(
        selector=_texts(wire.selector, "bucket selector"),
        salt=_text(wire.salt, "salt"),
        allocations=tuple(map(_allocation, wire.allocations)),
    )


def _allocation(wire: _Allocation) -> Allocation:
    start, end = _range(wire.range, "allocation range")
    return Allocation(
        start=start, end=end, distributions=tuple(map(_distribution, wire.distributions))
    )


def _distribution(wire: _Distribution) -> Distribution:
    start, end = _range(wire.range, "distribution range")
    return Distribution(variant=_text(wire.variant, "distribution variant"), start=start, end=end)


def _given(raw: msgspec.Raw) -> msgspec.Raw | None:
    """Take a null for absent."""
    return None if bytes(raw) == b"null" else raw


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _texts(raws: Iterable[msgspec.Raw], where: str) -> tuple[str, ...]:
    return tuple([_text(raw, where) for raw in raws])


def _text(raw: msgspec.Raw, where: str) -> str:
    """Read a text; a bare number or boolean is one too."""
    written = bytes(raw)
    if written[:1] == b'"':
        return _STRING.decode(written)
    if written == b"null" or written[:1] in (b"[", b"{"):
        raise FlagRefused(f"{where}: expected a text")
    return written.decode()


def _range(raws: list[msgspec.Raw], where: str) -> tuple[int, int]:
    """Read the first two integers; more are ignored, but must be integers."""
    if len(raws) < 2:
        raise FlagRefused(f"{where}: expected two integers")
    start, end, *_ = [_integer(raw, where) for raw in raws]
    return start, end


def _integer(raw: msgspec.Raw, where: str) -> int:
    """Read an integer of any size, or a text that spells one."""
    written = _text(raw, where)
    if _PLAIN_NUMBER.fullmatch(written):
        return int(written)
    if not _WHOLE_NUMBER.fullmatch(written):
        raise FlagRefused(f"{where}: expected an integer")
    number = read_number(written)
    if isinstance(number, int):
        return number
    try:
        return int(written)  # beyond 64 bits
    except ValueError:
        raise FlagRefused(f"{where}: expected an integer of reasonable size") from None


def split_flags(body: bytes) -> list[bytes]:
    """Give the JSON of each element of an array as it came; raises ValueError for no array."""
    try:
        body.decode()
        return [bytes(raw) for raw in _FLAGS.decode(body)]
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        return _split_slowly(body)
    except msgspec.DecodeError as error:
        if _SURROGATE_ESCAPE.search(body):
            return _split_slowly(body)
        raise ValueError(str(error)) from None


def _split_slowly(body: bytes) -> list[bytes]:
    """Split what the decoder cannot take in whole, when that is the fault of some elements only."""
    plain = body.strip(SPACE)
    if plain[:1] != b"[":
        raise ValueError("expected an array")
    elements = parts_of(plain)
    for element in elements:
        try:
            _ANYTHING.decode(element)
        except RecursionError:
            continue
        except msgspec.DecodeError as error:
            if not _SURROGATE_ESCAPE.search(element):
                raise ValueError(str(error)) from None
    return elements


def raw_flag_key(raw: bytes) -> str | None:
    """Give the key of a flag config that may be broken, if it can be made out."""
    plain = raw.strip(SPACE)
    if plain[:1] != b"{":
        return None
    try:
        for part in parts_of(plain):
            found = _KEY.fullmatch(part)
            if found:
                return _STRING.decode(found[1])
    except (ValueError, msgspec.DecodeError):
        return None
    return None
