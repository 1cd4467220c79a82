"""From what was answered to the event that analytics expects. Pure.

What one outcome adds to an event never changes, so it is encoded once (`told`); an event is then
a join of ready bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from proxy import __version__
from proxy.evaluation.outcomes import Outcome
from proxy.evaluation.text import text
from proxy.events.canonical import (
    LONGEST_TEXT,
    identity_prefix,
    insert_id,
    joined_hash,
    partial_hash,
)

LIBRARY: Final = f"evaluation-proxy/{__version__}"
MOST_GROUP_TYPES: Final = 5
MOST_GROUP_NAMES: Final = 10
MUTUAL_EXCLUSION: Final = "mutual-exclusion-group"

_TAIL: Final = b',"library":' + msgspec.json.encode(LIBRARY) + b"}"


class Told(NamedTuple):
    """What one outcome adds: members of three objects, each after a comma; its partial hash."""

    properties: bytes
    assigned: bytes
    unassigned: bytes
    partial_hash: tuple[int, int]


class Subject(NamedTuple):
    """Whom an event is about."""

    user_id: str | None
    device_id: str | None
    groups: Mapping[str, list[str]] = {}


def id_text(value: Any) -> str | None:
    """Return an id as text: strings as they are, numbers in decimal; None when it is no id."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return text(value)
    return None


def group_names(groups: Any) -> dict[str, list[str]]:
    """Return a user's groups as lists of names: the first 5 types with any, 10 names in all."""
    found: dict[str, list[str]] = {}
    room = MOST_GROUP_NAMES
    for group_type, names in groups.items() if isinstance(groups, Mapping) else ():
        if not room or len(found) == MOST_GROUP_TYPES:
            break
        if not 0 < len(group_type) <= LONGEST_TEXT:
            continue
        texts = (id_text(name) for name in (names if isinstance(names, list) else [names]))
        usable = [name for name in texts if name and len(name) <= LONGEST_TEXT][:room]
        if usable:
            found[group_type] = usable
            room -= len(usable)
    return found


def told(outcome: Outcome) -> Told:
    """Return what an outcome adds to every event that tells of it, worked out once."""
    if not isinstance(outcome.told, Told):
        outcome.told = _told(outcome)
    return outcome.told


def _told(outcome: Outcome) -> Told:
    flag, variant = outcome.flag_key, outcome.variant_key[:LONGEST_TEXT]
    name = f"[Experiment] {flag}"
    hashed = partial_hash(outcome.canonical)
    if len(name) > LONGEST_TEXT:
        return Told(b"", b"", b"", hashed)
    details = _details(outcome)
    properties = {f"{flag}.variant": variant} | ({f"{flag}.details": details} if details else {})
    assigned, unassigned = {}, {}
    if outcome.flag_type != MUTUAL_EXCLUSION:
        if outcome.is_default:
            unassigned[name] = "-"
        else:
            assigned[name] = variant
    return Told(_members(properties), _members(assigned), _members(unassigned), hashed)


def assignment_event(
    subject: Subject, parts: Sequence[Told], at_millis: int, *, user_properties: bool
) -> bytes:
    """Return the encoded event; `parts` are in the order of the flag keys."""
    user_id, device_id, groups = subject
    prefix = partial_hash(identity_prefix(user_id, device_id))
    text_hash = joined_hash([prefix, *[part.partial_hash for part in parts]])
    pieces = [b'{"event_type":"[Experiment] Assignment"']
    if user_id:
        pieces += b',"user_id":', _json(user_id)
    if device_id:
        pieces += b',"device_id":', _json(device_id)
    pieces += b',"event_properties":', _object([part.properties for part in parts])
    if user_properties:
        pieces += b',"user_properties":{"$set":', _object([part.assigned for part in parts])
        pieces += b',"$unset":', _object([part.unassigned for part in parts]), b"}"
    if groups:
        pieces += b',"groups":', _json(groups)
    pieces += b',"insert_id":', _json(insert_id(user_id, device_id, text_hash, at_millis))
    pieces += b',"time":%d' % at_millis, _TAIL
    return b"".join(pieces)


def _details(outcome: Outcome) -> str | None:
    if outcome.flag_version is None or outcome.segment_name is None:
        return None
    return f"v{outcome.flag_version} rule:{outcome.segment_name}"[:LONGEST_TEXT]


def _members(values: Mapping[str, str]) -> bytes:
    """Encode the members of an object without its braces, a comma before each."""
    return b"," + _json(values)[1:-1] if values else b""


def _object(members: list[bytes]) -> bytes:
    return b"{%b}" % b"".join(members)[1:]


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_repaired(value))


def _repaired(value: Any) -> Any:
    """Replace each half of a surrogate pair, which UTF-8 cannot carry."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_repaired(name): _repaired(part) for name, part in value.items()}
    return [_repaired(part) for part in value]
