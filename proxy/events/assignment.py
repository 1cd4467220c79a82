"""The event that tells which variants a user was assigned: one for all flags of an answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.evaluation.outcomes import Outcome
from proxy.events.canonical import LONGEST_TEXT, identity_prefix, joined_hash, partial_hash
from proxy.events.encoding import MUTUAL_EXCLUSION, event, joined, members, user_property
from proxy.events.subject import Subject

EVENT_TYPE: Final = "[Experiment] Assignment"


class Told(NamedTuple):
    """What one outcome adds: members of three objects, each after a comma; its partial hash."""

    properties: bytes
    assigned: bytes
    unassigned: bytes
    partial_hash: tuple[int, int]


def told(outcome: Outcome) -> Told:
    """Return what an outcome adds to every event that tells of it, worked out once."""
    if not isinstance(outcome.told, Told):
        outcome.told = _told(outcome)
    return outcome.told


def _told(outcome: Outcome) -> Told:
    flag, variant = outcome.flag_key, outcome.variant_key[:LONGEST_TEXT]
    name = user_property(flag)
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
    return Told(members(properties), members(assigned), members(unassigned), hashed)


def told_by(outcomes: Sequence[Outcome]) -> list[Told]:
    """Return what each outcome adds."""
    return [one.told or told(one) for one in outcomes]  # type: ignore[misc]


def assignment_event(
    subject: Subject, parts: Sequence[Told], at_millis: int, *, user_properties: bool
) -> bytes:
    """Return the encoded event; `parts` are in the order of the flag keys, at least one."""
    properties, assigned, unassigned, hashes = zip(*parts, strict=True)
    prefix = partial_hash(identity_prefix(subject.user_id, subject.device_id))
    content = [b',"event_properties":', joined(properties)]
    if user_properties:
        content += b',"user_properties":{"$set":', joined(assigned)
        content += b',"$unset":', joined(unassigned), b"}"
    return event(EVENT_TYPE, subject, content, joined_hash((prefix, *hashes)), at_millis)


def _details(outcome: Outcome) -> str | None:
    if outcome.flag_version is None or outcome.segment_name is None:
        return None
    return f"v{outcome.flag_version} rule:{outcome.segment_name}"[:LONGEST_TEXT]
