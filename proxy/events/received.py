"""An event that somebody else made: what is wrong with it, and what it lacks. Pure."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from proxy.events.subject import id_text

TOLERATED_SKEW_MILLIS: Final = 60_000
"""Upstream believes clocks that are wrong by less."""
REMOTE: Final = "$remote"
"""As an event's `ip`: the address that the upload came from."""
LATEST_MILLIS: Final = 1 << 53
SPARE_LEVELS: Final = 500
LONGEST_NUMBER: Final = 32
ODD: Final = object()
"""Stands for what belongs in no field of ours: arrays, objects, numbers of very many digits."""
IDS: Final = ("user_id", "device_id")
REFUSED_IDS: Final = frozenset(
    {
        *("anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "{}", "lmy47d"),
        *("0", "-1", "00000000-0000-0000-0000-000000000000"),
    }
)
MISSING: Final = "events_with_missing_fields"
INVALID: Final = "events_with_invalid_fields"
SHORT: Final = "events_with_invalid_id_lengths"

Members = dict[str, msgspec.Raw]

_MEMBERS: Final = msgspec.json.Decoder(Members)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What ids must be: so long, and all good unless one of them is enough."""

    shortest: int
    one_is_enough: bool


class Arrival(NamedTuple):
    """When an upload came, in milliseconds since 1970, and the client's address if it is known."""

    at_millis: int
    address: str | None = None


def members_of(value: msgspec.Raw) -> Members:
    """Return the members of an object, none of anything else."""
    try:
        return _MEMBERS.decode(value)
    except ValueError:
        return {}


def value_of(raw: msgspec.Raw | None) -> Any:
    """Return a text, a number, a boolean or None; `ODD` for anything else."""
    if raw is None:
        return None
    written = bytes(raw)
    if written.startswith((b"{", b"[")):
        return ODD
    if len(written) > LONGEST_NUMBER and not written.startswith(b'"'):
        return ODD
    try:
        return msgspec.json.decode(written)
    except ValueError:  # a number that is out of range, a text that is none
        return ODD


def skew_of(client_time: Any, at_millis: int) -> int:
    """Return by how many milliseconds a client's clock is late, 0 if that is tolerable."""
    try:
        moment = datetime.fromisoformat(client_time)
    except (TypeError, ValueError):
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    late = at_millis - round(aware.timestamp() * 1000)
    return late if abs(late) >= TOLERATED_SKEW_MILLIS else 0


def problem_of(event: msgspec.Raw, members: Members, terms: Terms) -> tuple[str, str] | None:
    """Return what is wrong with an event, and with which field of it."""
    event_type, time = value_of(members.get("event_type")), value_of(members.get("time"))
    if event_type is None:
        return MISSING, "event_type"
    if not id_text(event_type):
        return INVALID, "event_type"
    if time is not None and not _is_time(time):
        return INVALID, "time"
    if _is_too_deep(bytes(event)):
        return INVALID, "event_properties"
    return _problem_of_ids(members, terms)


def has_short_id(members: Members, shortest: int) -> bool:
    """Tell whether an id is shorter than it must be, which another one may make up for."""
    ids = (id_text(value_of(members.get(field))) for field in IDS)
    return any(found is not None and 0 < len(found) < shortest for found in ids)


def ready(event: msgspec.Raw, members: Members, skew: int, arrival: Arrival) -> bytes:
    """Add what upstream would add by itself, were the upload not to wait before it gets there."""
    changes: dict[str, Any] = {}
    if value_of(members.get("insert_id")) in (None, ""):
        changes["insert_id"] = str(uuid.uuid4())
    time = value_of(members.get("time"))
    if time is None:
        changes["time"] = arrival.at_millis
    elif skew:
        changes["time"] = round(time) + skew
    if arrival.address is not None and value_of(members.get("ip")) == REMOTE:
        changes["ip"] = arrival.address
    return msgspec.json.encode({**members, **changes}) if changes else bytes(event)


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < LATEST_MILLIS


def _is_too_deep(event: bytes) -> bool:
    """Tell whether an event can be read only just, and could not be in a less roomy place."""
    if event.count(b"{") + event.count(b"[") <= SPARE_LEVELS:
        return False
    try:
        msgspec.json.decode(b"[" * SPARE_LEVELS + event + b"]" * SPARE_LEVELS, type=msgspec.Raw)
    except RecursionError:
        return True
    return False


def _problem_of_ids(members: Members, terms: Terms) -> tuple[str, str] | None:
    first: tuple[str, str] | None = None
    has_good = False
    for field in IDS:
        value = value_of(members.get(field))
        if value is None or value == "":
            continue
        found = id_text(value)
        if found is None or found.lower() in REFUSED_IDS:
            first = first or (INVALID, field)
        elif len(found) < terms.shortest:
            first = first or (SHORT, field)
        else:
            has_good = True
    if first is not None and not (has_good and terms.one_is_enough):
        return first
    return None if has_good else (MISSING, "user_id")
