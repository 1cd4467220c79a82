"""What an evaluation gives for one flag, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from proxy.evaluation.model import Flag, Segment, Variant
from proxy.evaluation.text import json_text, scalar_text
from proxy.evaluation.users import parse_json

_SURROGATE = re.compile("[\ud800-\udfff]")


class Result(msgspec.Struct, frozen=True):
    """The variant that one segment of a flag gave; `metadata` is merged from all three."""

    flag_key: str
    variant: Variant
    segment_index: int
    metadata: Mapping[str, msgspec.Raw]


def merged_metadata(flag: Flag, segment: Segment, variant: Variant) -> dict[str, msgspec.Raw]:
    """Merge at the top level: the segment's wins over the flag's, the variant's over both."""
    return {**flag.metadata, **segment.metadata, **variant.metadata}


def result_json(result: Result) -> bytes:
    """Write a result with its value, payload and metadata as they came, absent ones left out."""
    variant = result.variant
    return msgspec.json.encode(variant_members(variant, result.metadata))


def variant_members(variant: Variant, metadata: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Give the members that a variant has in JSON, ready for the encoder."""
    members: dict[str, Any] = {
        "key": variant.key,
        "value": variant.value,
        "payload": variant.payload,
        "metadata": metadata or None,
    }
    return {name: member for name, member in members.items() if member is not None}


def selectable(result: Result) -> dict[str, Any]:
    """Give what the selectors of later flags find in a result: key, value and metadata."""
    members = variant_members(result.variant, result.metadata)
    members.pop("payload", None)
    parsed: dict[str, Any] = parse_json(msgspec.json.encode(members))
    return parsed


def encode(value: Any) -> bytes:
    """Write plain JSON values, traces among them, whatever their texts hold and however deep."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError):
        written = json_text(value, _finite)
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", written).encode()


def _finite(value: Any) -> str:
    """Write a scalar; what JSON has no number for is null."""
    return "null" if isinstance(value, float) and not isfinite(value) else scalar_text(value)
