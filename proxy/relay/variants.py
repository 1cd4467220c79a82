"""What Amplitude answers, taken apart: only an object of variants is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from proxy.errors import UpstreamGarbled

Variants = Mapping[str, bytes]
"""Flag key to its member of an answer, `"key":{...}`, the variant as it came."""

NOTHING: Final[Mapping[str, msgspec.Raw]] = {}


class _Variant(msgspec.Struct, frozen=True):
    """What every variant must have, and what the older endpoints look at."""

    key: str
    metadata: Mapping[str, msgspec.Raw] | None = None
    exp_key: Any = msgspec.field(default=None, name="expKey")


_CHECKED = msgspec.json.Decoder(dict[str, _Variant])
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_variants(body: bytes) -> Variants:
    """Read an answer; raises `UpstreamGarbled` unless it is an object of variants with keys."""
    try:
        body.decode()  # what is skipped by the decoder is not looked at as text
        _CHECKED.decode(body)
        parts = _PARTS.decode(body)
        return {key: msgspec.json.encode(key) + b":" + bytes(raw) for key, raw in parts.items()}
    except (ValueError, RecursionError):
        raise UpstreamGarbled("the answer is not an object of variants") from None


def whole(members: list[bytes]) -> bytes:
    """Return the answer that has these members."""
    return b"{%b}" % b",".join(members)


def as_v1(member: bytes) -> bytes:
    """Return a member as version 1 of the API has it: with `expKey`.

    b"" for a default variant and for a flag that is not deployed.
    """
    (variant,) = _CHECKED.decode(b"{%b}" % member).values()
    metadata = variant.metadata or NOTHING
    if _raw(metadata, "default") == b"true" or _raw(metadata, "deployed") == b"false":
        return b""
    experiment = _raw(metadata, "experimentKey")
    if variant.exp_key is not None or experiment in {b"", b"null"}:
        return member
    return member.rstrip()[:-1] + b',"expKey":' + experiment + b"}"


def _raw(metadata: Mapping[str, msgspec.Raw], name: str) -> bytes:
    return bytes(metadata.get(name, b""))
