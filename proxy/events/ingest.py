"""Uploads of analytics SDKs: what is taken, what is refused, in Amplitude's own words. Pure.

A refusal names the events that are wrong, and nothing of the upload is taken: the SDKs drop those
and send the others again. What upstream may see otherwise than we do is left to upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, NoReturn

import msgspec

from proxy.events.received import (
    INVALID,
    MISSING,
    SHORT,
    Arrival,
    Members,
    Terms,
    has_short_id,
    members_of,
    problem_of,
    ready,
    skew_of,
    value_of,
)
from proxy.upstream.analytics import SHORT_IDS

MOST_EVENTS: Final = 2000
MOST_PARTS: Final = 250_000
"""Values take a hundred bytes each while they are read: a body of nothing else takes gigabytes."""
MOST_KEY_TEXT: Final = 64
USUAL_ID_LENGTH: Final = 5
LONGEST_ID_LENGTH: Final = 36
"""Who asks for longer ids than a UUID gets events of as many options as he likes."""
TOO_LARGE: Final = "Payload too large"
ERRORS: Final = {
    MISSING: "Request missing required field",
    INVALID: "Invalid field values on some events",
    SHORT: "Invalid id length for user_id or device_id",
}
PARTS: Final = (b",", b"[", b"{")
STRETCH: Final = 1 << 18
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
INVALID_KEY: Final = "Invalid API key"
_NULL: Final = msgspec.Raw(b"null")
_MEMBERS: Final = msgspec.json.Decoder(Members)

Projects = Callable[[str], int | None]
"""Gives the index of the project that an API key is of, None when it is of none."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken at a path: so many bytes, inflated; and events of which one id is good."""

    most_bytes: int
    one_id_is_enough: bool


ENDPOINTS: Final = {
    "/2/httpapi": Endpoint(most_bytes=1 << 20, one_id_is_enough=False),
    "/batch": Endpoint(most_bytes=20 << 20, one_id_is_enough=True),
}


class Upload(NamedTuple):
    """Events that are good, encoded, with the options that they must be sent on with.

    `size` is that of the whole body, inflated.
    """

    project: int
    events: list[bytes]
    options: bytes
    size: int


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an upload that was taken."""

    code: int = 200
    events_ingested: int
    payload_size_bytes: int
    server_upload_time: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an upload that was not; it names places of events, by field."""

    code: int
    error: str
    missing_field: str | None = None
    events_with_missing_fields: dict[str, list[int]] = {}
    events_with_invalid_fields: dict[str, list[int]] = {}
    events_with_invalid_id_lengths: dict[str, list[int]] = {}

    @property
    def reason(self) -> str:
        """One word of a closed set, for counting."""
        if self.code != 400:
            return {413: "body_too_large", 503: "no_room"}[self.code]
        if self.error.startswith(INVALID_KEY):
            return "unknown_project"
        named = (
            self.events_with_missing_fields
            or self.events_with_invalid_fields
            or self.events_with_invalid_id_lengths
        )
        return "invalid_events" if named else "malformed"


class _Body(msgspec.Struct):
    api_key: msgspec.Raw = _NULL
    events: list[msgspec.Raw] | None = None
    options: msgspec.Raw = _NULL
    client_upload_time: msgspec.Raw = _NULL


class UploadRefused(Exception):
    """An upload that is not taken, and the answer to it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.error)
        self.refusal = refusal


def read_upload(
    body: bytes, endpoint: Endpoint, projects: Projects, arrival: Arrival, most_event_bytes: int
) -> Upload:
    """Return what an upload holds, its events made ready to wait; raises UploadRefused.

    `body` is inflated; an event of more than `most_event_bytes` could never be sent on.
    """
    found = _body(body, endpoint)
    project = _project(found.api_key, projects)
    if found.events is None:
        _refuse(ERRORS[MISSING], missing_field="events")
    if len(found.events) > MOST_EVENTS:
        _refuse(TOO_LARGE, 413)
    length = value_of(members_of(found.options).get("min_id_length"))
    shortest = length if type(length) is int and length >= 0 else None
    events = [(event, members_of(event)) for event in found.events]
    _check(events, endpoint, USUAL_ID_LENGTH if shortest is None else shortest)
    skew = skew_of(value_of(found.client_upload_time), arrival.at_millis)
    bodies = [ready(event, members, skew, arrival) for event, members in events]
    if any(len(one) > most_event_bytes for one in bodies):
        _refuse(TOO_LARGE, 413)
    return Upload(project, bodies, _options(events, shortest), len(body))


def ingested(upload: Upload, at_millis: int) -> Ingested:
    """Return the answer to an upload that was taken."""
    return Ingested(
        events_ingested=len(upload.events),
        payload_size_bytes=upload.size,
        server_upload_time=at_millis,
    )


def _options(events: Sequence[tuple[msgspec.Raw, Members]], shortest: int | None) -> bytes:
    """Return what the events must be sent on with: our own options, if that makes no difference.

    Batches are of one set of options only; with those of each client they would be small.
    """
    least = USUAL_ID_LENGTH if shortest is None else shortest
    if not any(has_short_id(members, least) for _, members in events):
        return SHORT_IDS
    return b'{"min_id_length":%d}' % min(least, LONGEST_ID_LENGTH)


def _refuse(error: str, code: int = 400, missing_field: str | None = None) -> NoReturn:
    raise UploadRefused(Refusal(code=code, error=error, missing_field=missing_field))


def _project(api_key: msgspec.Raw, projects: Projects) -> int:
    key = value_of(api_key)
    if not isinstance(key, str) or not key:
        _refuse(ERRORS[MISSING], missing_field="api_key")
    project = projects(key)
    if project is None:
        _refuse(f"{INVALID_KEY}: {key[:MOST_KEY_TEXT]}")
    return project


def _check(events: list[tuple[msgspec.Raw, Members]], endpoint: Endpoint, shortest: int) -> None:
    """Refuse all when one is wrong, naming every one that is, each for one reason."""
    terms = Terms(shortest=shortest, one_is_enough=endpoint.one_id_is_enough)
    wrong: dict[str, dict[str, list[int]]] = {kind: {} for kind in ERRORS}
    for index, (event, members) in enumerate(events):
        problem = problem_of(event, members, terms)
        if problem is not None:
            kind, field = problem
            wrong[kind].setdefault(field, []).append(index)
    for kind, error in ERRORS.items():
        if wrong[kind]:
            raise UploadRefused(msgspec.convert({"code": 400, "error": error, **wrong}, Refusal))


def _body(body: bytes, endpoint: Endpoint) -> _Body:
    if len(body) > endpoint.most_bytes:
        _refuse(TOO_LARGE, 413)
    if not body or body.isspace():
        _refuse("Missing request body")
    if _has_too_many_parts(body):
        _refuse(TOO_LARGE, 413)
    try:
        return _read(body)
    except (ValueError, RecursionError):
        _refuse("Invalid JSON request body")


def _has_too_many_parts(body: bytes) -> bool:
    room = MOST_PARTS
    # A stretch at a time: nobody else gets a turn meanwhile, and the worst bodies end soon.
    for start in range(0, len(body), STRETCH):
        room -= sum(body.count(mark, start, start + STRETCH) for mark in PARTS)
        if room < 0:
            return True
    return False


def _read(body: bytes) -> _Body:
    body.decode()  # raises a ValueError; the decoder lets broken texts pass where it skips them
    try:
        return _decoded(body)
    except msgspec.DecodeError:
        # Amplitude reads half a surrogate pair, which is what cutting a text in two may leave.
        if _HALF.search(body) is None:
            raise
        if body.count(b"\\") > MOST_PARTS:
            _refuse(TOO_LARGE, 413)
        return _decoded(_ESCAPE.sub(_whole, body))


def _whole(escape: re.Match[bytes]) -> bytes:
    found = escape[0]
    return rb"\ufffd" if len(found) == len(rb"\ud800") else found


def _decoded(body: bytes) -> _Body:
    try:
        return msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError:
        # Raises the same unless it is an object; then its events are of no use.
        return _Body(api_key=_MEMBERS.decode(body).get("api_key", _NULL))
