"""A flag config as people read it: plain JSON values, every text bounded. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.admin.shares import percents, shares
from proxy.admin.wording import condition_text, name_text, selector_text
from proxy.evaluation.cohorts import targets
from proxy.evaluation.model import Flag, Segment
from proxy.evaluation.results import merged_metadata
from proxy.evaluation.users import parse_json

OFF = "off"
NOTHING = msgspec.Raw(b"null")


def describe(flag: Flag) -> dict[str, Any]:
    """Return a flag's key, what its metadata says of it, its variants and its segments."""
    return {
        "key": flag.key,
        "version": version_of(flag),
        "type": text_of(flag.metadata, "flagType"),
        "evaluation_mode": text_of(flag.metadata, "evaluationMode"),
        "delivery_method": text_of(flag.metadata, "deliveryMethod"),
        "deployed": is_deployed(flag),
        "on": is_on(flag),
        "dependencies": list(flag.dependencies),
        "cohorts": sorted({target.cohort_id for target in targets(flag)}),
        "variants": [
            {"key": key, "name": name_text(variant.key), "has_payload": variant.payload is not None}
            for key, variant in flag.variants.items()
        ],
        "segments": [_segment(name, one) for name, one in named_segments(flag)],
    }


def version_of(flag: Flag) -> int | None:
    """Return the version that the metadata tells, None if it tells none."""
    version = _metadata(flag.metadata, "flagVersion")
    return version if isinstance(version, int) and not isinstance(version, bool) else None


def is_deployed(flag: Flag) -> bool:
    """Tell whether the metadata does not say otherwise."""
    return _metadata(flag.metadata, "deployed") is not False


def is_on(flag: Flag) -> bool:
    """Tell whether any segment can give a variant that is neither `off` nor a default."""
    return any(
        _counts(flag, segment, variant)
        for segment in flag.segments
        for variant in possible(segment)
    )


def named_segments(flag: Flag) -> Iterator[tuple[str, Segment]]:
    """Give each segment with its name, or its number where it has none."""
    for number, segment in enumerate(flag.segments, start=1):
        yield text_of(segment.metadata, "segmentName") or f"segment {number}", segment


def possible(segment: Segment) -> set[str]:
    """Return the variants that a segment can give."""
    if segment.conditions == ():
        return set()
    own = set() if segment.variant is None else {segment.variant}
    if segment.bucket is None:
        return own
    dealt = shares(segment.bucket)
    if dealt is None:
        every = (one.variant for a in segment.bucket.allocations for one in a.distributions)
        return own | set(every)
    # Whoever lacks the value that is hashed gets the segment's own variant, whatever the ranges.
    return own | set(dealt)


def text_of(metadata: Mapping[str, msgspec.Raw], name: str) -> str:
    """Return a text of the metadata, bounded; empty if it is no text."""
    value = _metadata(metadata, name)
    return name_text(value) if isinstance(value, str) else ""


def _counts(flag: Flag, segment: Segment, key: str) -> bool:
    variant = flag.variants.get(key)
    if variant is None or key == OFF:
        return False
    metadata = merged_metadata(flag, segment, variant)
    return bytes(metadata.get("default", b"")).strip() != b"true"


def _segment(name: str, segment: Segment) -> dict[str, Any]:
    bucket = segment.bucket
    dealt = None if bucket is None else shares(bucket)
    return {
        "name": name,
        "conditions": [[condition_text(one) for one in inner] for inner in segment.conditions]
        if segment.conditions is not None
        else None,
        "bucketed_by": None if bucket is None else selector_text(bucket.selector),
        "shares": [
            {"variant": name_text(variant), "percent": part}
            for variant, part in percents(dealt or {}).items()
        ],
        "variant": None if segment.variant is None else name_text(segment.variant),
        "too_many_ranges": bucket is not None and dealt is None,
    }


def _metadata(metadata: Mapping[str, msgspec.Raw], name: str) -> Any:
    # What is nested is no text and no number, however deep.
    raw = bytes(metadata.get(name, NOTHING)).strip()
    return None if raw[:1] in (b"{", b"[") else parse_json(raw)
