"""Ingestion answers as Amplitude does and remembers a bounded number of events."""

import json
from typing import Any

import pytest

from proxy.sandbox.ingest import MOST_TYPES, OTHER, Ingest


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "seen", "user_id": "somebody", **fields}


def upload(*events: Any, api_key: Any = "key", **more: Any) -> bytes:
    return json.dumps({"api_key": api_key, "events": list(events), **more}).encode()


def test_good_events_are_counted_and_kept() -> None:
    ingest = Ingest("key")

    answer, new = ingest.post("/batch", upload(event(), event(event_type="other")), 1.5)

    assert answer["code"] == 200
    assert answer["events_ingested"] == 2
    assert answer["server_upload_time"] == 1500
    assert answer["payload_size_bytes"] > 50
    assert new == ingest.events()
    assert ingest.events("other") == [event(event_type="other")]
    assert dict(ingest.taken) == {"seen": 1, "other": 1}


def test_no_more_types_are_told_apart_than_anybody_looks_at() -> None:
    ingest = Ingest("key")

    for number in range(MOST_TYPES + 50):
        ingest.post("/batch", upload(event(event_type=f"type {number}"), event()), 0)

    assert len(ingest.taken) == MOST_TYPES + 1
    assert ingest.taken["seen"] == MOST_TYPES + 50
    assert ingest.taken[OTHER] == 51


def test_an_insert_id_that_came_before_is_not_a_new_event() -> None:
    ingest = Ingest("key")

    first, _ = ingest.post("/batch", upload(event(insert_id="a")), 0)
    second, new = ingest.post("/batch", upload(event(insert_id="a"), event(insert_id="b")), 0)

    assert first["code"] == second["code"] == 200
    assert new == [event(insert_id="b")]
    assert (ingest.repeated, ingest.taken.total()) == (1, 2)


def test_the_oldest_events_give_way() -> None:
    ingest = Ingest("key", capacity=2)

    ingest.post("/batch", upload(*(event(number=number) for number in range(5))), 0)

    assert [kept["number"] for kept in ingest.events()] == [3, 4]
    assert ingest.taken["seen"] == 5


@pytest.mark.parametrize(
    ("body", "code", "field", "expected"),
    [
        (b"{", 400, "error", "Invalid JSON request body"),
        (b"[" * 5000, 400, "error", "Invalid JSON request body"),
        (b"[]", 400, "error", "Invalid JSON request body"),
        (b'{"events": []}', 400, "missing_field", "api_key"),
        (b'{"api_key": "key"}', 400, "missing_field", "events"),
        (upload(event(), api_key="other"), 400, "error", "Invalid API key: other"),
        (upload(*[event()] * 2001), 413, "error", "Payload too large"),
        (b" " * 1_000_001, 413, "error", "Payload too large"),
        (upload(event(), 7, {}), 400, "events_with_missing_fields", {"event_type": [1, 2]}),
        (
            upload(event(), event(user_id=None)),
            400,
            "events_with_missing_fields",
            {"user_id": [1]},
        ),
        (
            upload(event(), event(user_id="ada")),
            400,
            "events_with_invalid_id_lengths",
            {"user_id": [1]},
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_names_what_is_wrong_and_keeps_nothing(
    body: bytes, code: int, field: str, expected: Any
) -> None:
    ingest = Ingest("key")

    answer, new = ingest.post("/2/httpapi", body, 0)

    assert (answer["code"], answer[field]) == (code, expected)
    assert new == ingest.events() == []


def test_short_ids_pass_when_the_sender_asks_for_it() -> None:
    body = upload(event(user_id="a"), options={"min_id_length": 1})

    answer, _ = Ingest("key").post("/batch", body, 0)

    assert answer["code"] == 200
