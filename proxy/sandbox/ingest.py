"""Events as Amplitude's ingestion takes them: checked, answered, remembered within a bound."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import msgspec

MOST_EVENTS = 2000
MOST_TYPES = 100
OTHER = "other types"
"""What is counted under one name when there are more types than that."""
MOST_BYTES = {"/2/httpapi": 1_000_000, "/batch": 20_000_000}
USUAL_ID_LENGTH = 5
IDS = ("user_id", "device_id")
REFUSED_IDS = {
    *("anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "{}", "lmy47d"),
    *("0", "-1", "00000000-0000-0000-0000-000000000000"),
}
MISSING = "events_with_missing_fields"
INVALID = "events_with_invalid_fields"
SHORT = "events_with_invalid_id_lengths"
ERRORS = {
    MISSING: "Request missing required field",
    INVALID: "Invalid field values on some events",
    SHORT: "Invalid id length for user_id or device_id",
}
Answer = dict[str, Any]
"""The JSON answer; its member `code` is the HTTP status as well."""


class Ingest:
    """The events that came in; the oldest give way when there are more than `capacity`."""

    def __init__(self, api_key: str, capacity: int = 10_000) -> None:
        self._api_key = api_key
        self._capacity = capacity
        self._events: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.taken: Counter[str] = Counter()
        self.repeated = 0

    def post(self, path: str, body: bytes, now: float) -> tuple[Answer, list[dict[str, Any]]]:
        """Return Amplitude's answer to `body` and the events that were new (none on a refusal)."""
        if len(body) > MOST_BYTES[path]:
            return _refusal(413, "Payload too large"), []
        try:
            upload = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            return _refusal(400, "Invalid JSON request body"), []
        problem = self._problem(upload, forgiving=path == "/batch")
        if problem is not None:
            return problem, []
        events = upload["events"]
        new = [event for event in events if self._remember(event)]
        answer = {
            "code": 200,
            "events_ingested": len(events),
            "payload_size_bytes": len(body),
            "server_upload_time": int(now * 1000),
        }
        return answer, new

    def note(self, event: dict[str, Any]) -> None:
        """Take in an event that Amplitude makes itself."""
        self._remember(event)

    def events(self, event_type: str | None = None) -> list[dict[str, Any]]:
        """Return the events still remembered, oldest first, perhaps of one type only."""
        held = self._events.values()
        return [event for event in held if event_type in {None, event["event_type"]}]

    def _problem(self, upload: Any, *, forgiving: bool) -> Answer | None:
        if not isinstance(upload, dict):
            return _refusal(400, "Invalid JSON request body")
        for field, kind in (("api_key", str), ("events", list)):
            if not isinstance(upload.get(field), kind):
                return _refusal(400, "Request missing required field", missing_field=field)
        if upload["api_key"] != self._api_key:
            return _refusal(400, f"Invalid API key: {upload['api_key']}")
        if len(upload["events"]) > MOST_EVENTS:
            return _refusal(413, "Payload too large")
        shortest = _id_length(upload.get("options"))
        return _problem_of_events(upload["events"], shortest, forgiving=forgiving)

    def _remember(self, event: dict[str, Any]) -> bool:
        identity = str(event.get("insert_id") or f"no insert_id {self.taken.total()}")
        if identity in self._events:
            self.repeated += 1
            return False
        self._events[identity] = event
        event_type = event["event_type"]
        is_one_too_many = len(self.taken) >= MOST_TYPES and event_type not in self.taken
        self.taken[OTHER if is_one_too_many else event_type] += 1
        if len(self._events) > self._capacity:
            self._events.popitem(last=False)
        return True


def _id_length(options: Any) -> int:
    wanted = options.get("min_id_length") if isinstance(options, dict) else None
    return wanted if isinstance(wanted, int) else USUAL_ID_LENGTH


def _problem_of_events(events: list[Any], id_length: int, *, forgiving: bool) -> Answer | None:
    wrong: dict[str, dict[str, list[int]]] = {kind: {} for kind in ERRORS}
    for index, event in enumerate(events):
        problem = _problem_of_event(event, id_length, forgiving=forgiving)
        if problem is not None:
            kind, field = problem
            wrong[kind].setdefault(field, []).append(index)
    found = {kind: fields for kind, fields in wrong.items() if fields}
    return _refusal(400, ERRORS[next(iter(found))], **found) if found else None


def _problem_of_event(event: Any, id_length: int, *, forgiving: bool) -> tuple[str, str] | None:
    if not isinstance(event, dict) or event.get("event_type") is None:
        return MISSING, "event_type"
    if event["event_type"] in ("", True, False) or isinstance(event["event_type"], dict | list):
        return INVALID, "event_type"
    if type(event.get("time")) not in {int, float, type(None)}:
        return INVALID, "time"
    given = {name: event[name] for name in IDS if event.get(name) not in (None, "")}
    bad = {name: kind for name, one in given.items() if (kind := _problem_of_id(one, id_length))}
    if not given:
        return MISSING, "user_id"
    if not bad or (forgiving and len(bad) < len(given)):
        return None
    name, kind = next(iter(bad.items()))
    return kind, name


def _problem_of_id(value: Any, id_length: int) -> str | None:
    if isinstance(value, bool | dict | list) or str(value).lower() in REFUSED_IDS:
        return INVALID
    return SHORT if len(str(value)) < id_length else None


def _refusal(code: int, error: str, **details: Any) -> Answer:
    return {"code": code, "error": error, **details}
