"""The events that tell what a user was exposed to: one for each flag of an answer. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from proxy.evaluation.outcomes import Outcome
from proxy.evaluation.users import parse_json
from proxy.events.canonical import (
    LONGEST_TEXT,
    identity_prefix,
    joined_hash,
    joined_partial,
    partial_hash,
)
from proxy.events.encoding import MUTUAL_EXCLUSION, encode, event, joined, members, user_property
from proxy.events.subject import Subject

EVENT_TYPE: Final = "[Experiment] Exposure"
DEEPEST_METADATA: Final = 32
"""Upstream takes properties nested 40 deep; these are two levels down already."""


class Exposed(NamedTuple):
    """What one outcome adds: the content of its event, empty when it is no exposure; hashes.

    `flag_hash` is that of the flag's key and a blank, `partial_hash` that of the canonical text.
    """

    content: bytes
    flag_hash: tuple[int, int]
    partial_hash: tuple[int, int]


def exposed(outcome: Outcome) -> Exposed:
    """Return what tells of the exposure to an outcome, worked out once."""
    if not isinstance(outcome.exposed, Exposed):
        outcome.exposed = Exposed(
            _content(outcome) if _is_exposure(outcome) else b"",
            partial_hash(f"{outcome.flag_key} "),
            partial_hash(outcome.canonical),
        )
    return outcome.exposed


def exposure_events(
    subject: Subject, outcomes: Sequence[Outcome], asked: Collection[str], at_millis: int
) -> list[bytes]:
    """Return an encoded event for each exposure; `outcomes` are in the order of the flag keys.

    `asked` are the flags that the caller asked for, empty for all: what was evaluated for their
    sake is no exposure, but is part of what makes two evaluations the same.
    """
    parts = [exposed(outcome) for outcome in outcomes]
    prefix = partial_hash(identity_prefix(subject.user_id, subject.device_id))
    canonical = joined_partial([prefix, *[part.partial_hash for part in parts]])
    return [
        event(
            EVENT_TYPE,
            subject,
            [part.content],
            joined_hash([part.flag_hash, canonical]),
            at_millis,
        )
        for outcome, part in zip(outcomes, parts, strict=True)
        if part.content and (not asked or outcome.flag_key in asked)
    ]


def _is_exposure(outcome: Outcome) -> bool:
    return (
        outcome.track_exposure
        and outcome.is_deployed
        and not outcome.is_default
        and len(user_property(outcome.flag_key)) <= LONGEST_TEXT
    )


def _content(outcome: Outcome) -> bytes:
    flag, variant = outcome.flag_key, outcome.variant_key[:LONGEST_TEXT]
    properties: dict[str, Any] = {"[Experiment] Flag Key": flag, "[Experiment] Variant": variant}
    if outcome.experiment_key:
        properties["[Experiment] Experiment Key"] = outcome.experiment_key[:LONGEST_TEXT]
    told = members(properties)
    if metadata := _metadata(outcome.metadata):
        told += b',"metadata":' + joined(metadata)
    assigned = {} if outcome.flag_type == MUTUAL_EXCLUSION else {user_property(flag): variant}
    return b',"event_properties":%b,"user_properties":{"$set":%b,"$unset":{}}' % (
        joined([told]),
        encode(assigned),
    )


def _metadata(metadata: Mapping[str, msgspec.Raw]) -> list[bytes]:
    """Encode the members as they came; those that upstream would not take are bounded."""
    found = []
    for name, raw in metadata.items():
        try:
            value = parse_json(raw)
            bounded = _bounded(value, DEEPEST_METADATA)
        except ValueError:
            continue
        kept = raw if bounded == value and b"\\u" not in bytes(raw) else bounded
        found.append(members({name[:LONGEST_TEXT]: kept}))
    return found


def _bounded(value: Any, deepest: int) -> Any:
    """Cut texts that are too long; raises ValueError when it is nested too deeply."""
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if not isinstance(value, Mapping | list):
        return value
    if not deepest:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_bounded(part, deepest - 1) for part in value]
    return {name[:LONGEST_TEXT]: _bounded(part, deepest - 1) for name, part in value.items()}
