"""What OFREP says of an outcome: value, reason and metadata. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from proxy.evaluation.outcomes import as_string
from proxy.evaluation.results import encode

if TYPE_CHECKING:
    from proxy.evaluation.model import Bucket, Flag, Segment, Variant
    from proxy.evaluation.outcomes import Outcome

BOOLEANS: Final = {b'"on"': True, b'"true"': True, b'"off"': False, b'"false"': False}
NULL: Final = b"null"
EVERYBODY: Final = (0, 100)
LAST_BUCKET: Final = 42_949_672
"""The highest value of floor(hash / 100)."""
TARGETING_KEY_MISSING: Final = "TARGETING_KEY_MISSING"

ValueOf = Literal["payload", "variant"]


def shown(flag: Flag, outcome: Outcome | None, value_of: ValueOf) -> bytes:
    """Return what OFREP says of a flag that gave an outcome, or none to this user."""
    if outcome is None:
        # Some providers cannot do without a variant.
        return encode({"key": flag.key, "reason": "DEFAULT", "variant": ""})
    if not isinstance(outcome.shown, bytes):
        outcome.shown = encode(_members(outcome, flag, value_of))
    return outcome.shown


def failed(code: str, details: str, key: str | None = None) -> bytes:
    """Return the answer that tells a failure, of one flag when a key is given."""
    named = {} if key is None else {"key": key}
    return encode({**named, "errorCode": code, "errorDetails": details})


def no_id(flag: Flag) -> bytes:
    """Return the failure of a flag for a user who lacks the id that it wants."""
    return failed(
        TARGETING_KEY_MISSING, "The flag divides users, and there is no targetingKey", flag.key
    )


def wants_id(flag: Flag, outcome: Outcome | None) -> bool:
    """Tell whether an id of the user could have changed an outcome that is as good as none."""
    return (outcome is None or outcome.is_default) and any(
        segment.bucket is not None
        and segment.bucket.selector[:2] == ("context", "user")
        and segment.bucket.selector[-1] in ("user_id", "device_id")
        and not _is_trivial(segment.bucket)
        for segment in flag.segments
    )


def is_deployed(flag: Flag) -> bool:
    """Tell whether a flag is for clients, not only there because others depend on it."""
    return bytes(flag.metadata.get("deployed", b"")) != b"false"


def _members(outcome: Outcome, flag: Flag, value_of: ValueOf) -> dict[str, Any]:
    members: dict[str, Any] = {
        "key": outcome.flag_key,
        "reason": _reason(outcome, flag.segments[outcome.segment_index]),
        "variant": outcome.variant_key,
    }
    if not outcome.is_default:
        value = _value(outcome.variant, flag, value_of)
        if value is not None:
            members["value"] = value
    metadata = {name: raw for name, raw in outcome.metadata.items() if _is_scalar(raw)}
    if metadata:
        members["metadata"] = metadata
    return members


def _reason(outcome: Outcome, segment: Segment) -> str:
    if outcome.is_default:
        return "DEFAULT"
    if segment.bucket is not None and not _is_trivial(segment.bucket):
        return "SPLIT"
    return "STATIC" if segment.conditions is None else "TARGETING_MATCH"


def _is_trivial(bucket: Bucket) -> bool:
    """Tell whether a bucket gives everybody the same."""
    if len(bucket.allocations) != 1:
        return False
    allocation = bucket.allocations[0]
    if (allocation.start, allocation.end) != EVERYBODY or len(allocation.distributions) != 1:
        return False
    (only,) = allocation.distributions
    return only.start <= 0 and only.end > LAST_BUCKET


def _value(variant: Variant, flag: Flag, value_of: ValueOf) -> Any:
    """Return the value, None for none: of one type for all variants of a flag."""
    if value_of == "payload" and any(each.payload is not None for each in flag.variants.values()):
        return variant.payload
    texts = [_text(each).lower() for each in flag.variants.values()]
    if all(text in BOOLEANS for text in texts):
        return BOOLEANS[_text(variant).lower()]
    return msgspec.Raw(_text(variant))


def _text(variant: Variant) -> bytes:
    """Return what a variant is called, as a JSON string."""
    if variant.value is None:
        return encode(variant.key)
    named = as_string(variant.value)
    return encode(named) if isinstance(named, str) else bytes(named)


def _is_scalar(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return text != NULL and not text.startswith((b"{", b"["))
