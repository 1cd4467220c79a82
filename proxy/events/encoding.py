"""The JSON of an event of ours: what does not depend on its type, joined around its content. Pure.

What one outcome adds to an event never changes, so it is encoded once, as members of an object
with a comma before each; an event is then a join of ready bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy import __version__
from proxy.events.canonical import insert_id
from proxy.events.subject import Subject

LIBRARY: Final = f"evaluation-proxy/{__version__}"
MUTUAL_EXCLUSION: Final = "mutual-exclusion-group"

_TAIL: Final = b',"library":' + msgspec.json.encode(LIBRARY) + b"}"


def event(
    event_type: str, subject: Subject, content: Sequence[bytes], text_hash: int, at_millis: int
) -> bytes:
    """Return an encoded event; the pieces of `content` join to members, a comma before each."""
    user_id, device_id, groups = subject
    pieces = [b'{"event_type":"%b"' % event_type.encode()]
    if user_id:
        pieces += b',"user_id":', encode(user_id)
    if device_id:
        pieces += b',"device_id":', encode(device_id)
    pieces += content
    if groups:
        pieces += b',"groups":', encode(groups)
    pieces += b',"insert_id":', encode(insert_id(user_id, device_id, text_hash, at_millis))
    pieces += b',"time":%d' % at_millis, _TAIL
    return b"".join(pieces)


def user_property(flag_key: str) -> str:
    """Return the name of the user property that holds a flag's variant."""
    return f"[Experiment] {flag_key}"


def members(values: Mapping[str, Any]) -> bytes:
    """Encode the members of an object without its braces, a comma before each."""
    return b"," + encode(values)[1:-1] if values else b""


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the object that holds these members."""
    return b"{%b}" % b"".join(parts)[1:]


def encode(value: Any) -> bytes:
    """Encode as JSON; each half of a surrogate pair, which UTF-8 cannot carry, is replaced."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_repaired(value))


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_repaired(name): _repaired(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_repaired(part) for part in value]
    return value
