"""Events as Amplitude's ingestion takes them: checked, answered, remembered within a bound."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import msgspec

MOST_EVENTS = 2000
MOST_BYTES = {"/2/httpapi": 1_000_000, "/batch": 20_000_000}
USUAL_ID_LENGTH = 5
IDS = ("user_id", "device_id")
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
        problem = self._problem(upload)
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

    def events(self, event_type: str | None = None) -> list[dict[str, Any]]:
        """Return the events still remembered, oldest first, perhaps of one type only."""
        held = self._events.values()
        return [event for event in held if event_type in {None, event["event_type"]}]

    def _problem(self, upload: Any) -> Answer | None:
        if not isinstance(upload, dict):
            return _refusal(400, "Invalid JSON request body")
        for field, kind in (("api_key", str), ("events", list)):
            if not isinstance(upload.get(field), kind):
                return _refusal(400, "Request missing required field", missing_field=field)
        if upload["api_key"] != self._api_key:
            return _refusal(400, f"Invalid API key: {upload['api_key']}")
        if len(upload["events"]) > MOST_EVENTS:
            return _refusal(413, "Payload too large")
        return _problem_of_events(upload["events"], _id_length(upload.get("options")))

    def _remember(self, event: dict[str, Any]) -> bool:
        identity = str(event.get("insert_id") or f"no insert_id {self.taken.total()}")
        if identity in self._events:
            self.repeated += 1
            return False
        self._events[identity] = event
        self.taken[event["event_type"]] += 1
        if len(self._events) > self._capacity:
            self._events.popitem(last=False)
        return True


def _id_length(options: Any) -> int:
    wanted = options.get("min_id_length") if isinstance(options, dict) else None
    return wanted if isinstance(wanted, int) else USUAL_ID_LENGTH


def _problem_of_events(events: list[Any], id_length: int) -> Answer | None:
    missing: dict[str, list[int]] = {}
    short: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        if not isinstance(event, dict) or not isinstance(event.get("event_type"), str):
            missing.setdefault("event_type", []).append(index)
            continue
        given = {name: str(event[name]) for name in IDS if event.get(name) is not None}
        if not given:
            missing.setdefault("user_id", []).append(index)
        for name, text in given.items():
            if len(text) < id_length:
                short.setdefault(name, []).append(index)
    if missing:
        return _refusal(400, "Event missing required fields", events_with_missing_fields=missing)
    if short:
        return _refusal(400, "Invalid id length", events_with_invalid_id_lengths=short)
    return None


def _refusal(code: int, error: str, **details: Any) -> Answer:
    return {"code": code, "error": error, **details}
