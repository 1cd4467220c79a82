import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events.ingest import (
    ENDPOINTS,
    MOST_PARTS,
    Refusal,
    Upload,
    UploadRefused,
    ingested,
    read_upload,
)
from proxy.events.received import Arrival
from proxy.sandbox.ingest import Ingest
from proxy.upstream.analytics import SHORT_IDS

AT = 1_700_000_000_000
KEY = "analytics-key"
ZEROS = "00000000-0000-0000-0000-000000000000"


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "seen", "user_id": "somebody", **fields}


def upload(*events: Any, api_key: Any = KEY, **more: Any) -> bytes:
    return json.dumps({"api_key": api_key, "events": list(events), **more}).encode()


def project_of(key: str) -> int | None:
    return {KEY: 3}.get(key)


def read(
    body: bytes, path: str = "/2/httpapi", address: str | None = None, most: int = 1_000_000
) -> Upload:
    return read_upload(body, ENDPOINTS[path], project_of, Arrival(AT, address), most)


def refusal(body: bytes, path: str = "/2/httpapi", most: int = 1_000_000) -> Refusal:
    with pytest.raises(UploadRefused) as refused:
        read(body, path, most=most)
    return refused.value.refusal


def decoded(taken: Upload) -> list[dict[str, Any]]:
    return [msgspec.json.decode(body) for body in taken.events]


def test_an_event_that_lacks_nothing_stays_as_it_came() -> None:
    raw = b'{ "insert_id":"i","time":1.0e12, "event_type" : "s\\u0065en","user_id":"bodies"}'

    body = b'{"api_key":"analytics-key","events":[%b , %b]}' % (raw, raw)

    assert read(body) == Upload(3, [raw, raw], SHORT_IDS, len(body))


@pytest.mark.parametrize("lacking", [{}, {"insert_id": None}, {"insert_id": ""}])
def test_an_insert_id_is_added_where_it_is_missing(lacking: dict[str, Any]) -> None:
    body = upload(event(time=AT, **lacking), event(time=AT, **lacking), event(insert_id="own"))

    first, second, third = [one["insert_id"] for one in decoded(read(body))]

    assert len(first) == len(second) == 36
    assert first != second
    assert third == "own"


def test_what_is_added_touches_no_other_value() -> None:
    numbers = b"[1.0,1e2,123456789012345678901]"
    raw = b'{"event_type":"s\\u0065en","user_id":"somebody","n":%b}' % numbers

    [body] = read(b'{"api_key":"analytics-key","events":[%b]}' % raw).events

    assert body.startswith(raw[:-1])
    assert set(msgspec.json.decode(body)) - set(msgspec.json.decode(raw)) == {"insert_id", "time"}


def test_the_time_is_that_of_the_upload_where_it_is_missing() -> None:
    taken = read(upload(event(), event(time=None), event(time=5), event(time=7.5)))

    assert [one["time"] for one in decoded(taken)] == [AT, AT, 5, 7.5]


@pytest.mark.parametrize(
    ("client_seconds", "expected"),
    [(AT / 1000 - 59, 5), (AT / 1000 + 59, 5), (AT / 1000 - 90, 90_005), (AT / 1000 + 90, -89_995)],
)
def test_a_clock_that_is_wrong_by_a_minute_is_corrected_as_upstream_would(
    client_seconds: float, expected: int
) -> None:
    said = datetime.fromtimestamp(client_seconds, UTC).isoformat().replace("+00:00", "Z")

    taken = read(upload(event(time=5), event(), client_upload_time=said))

    assert [one["time"] for one in decoded(taken)] == [expected, AT]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("2023-11-14T22:11:20", 120_005), ("yesterday", 5), (17, 5), (None, 5), ({}, 5), ("", 5)],
)
def test_an_upload_time_without_zone_is_utc_and_nonsense_is_nothing(
    said: Any, expected: int
) -> None:
    [one] = decoded(read(upload(event(time=5), client_upload_time=said)))

    assert one["time"] == expected


def test_the_remote_address_is_filled_in_where_an_event_asks_for_it() -> None:
    body = upload(event(ip="$remote"), event(ip="198.51.100.7"), event())

    known = decoded(read(body, address="203.0.113.9"))
    unknown = decoded(read(body))

    assert [one.get("ip") for one in known] == ["203.0.113.9", "198.51.100.7", None]
    assert [one.get("ip") for one in unknown] == ["$remote", "198.51.100.7", None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_id_length": 7, "other": [1]}, b'{"min_id_length":7}'),
        ({"min_id_length": 40}, b'{"min_id_length":36}'),
        ({"min_id_length": True}, b'{"min_id_length":5}'),
        ({"min_id_length": -1}, b'{"min_id_length":5}'),
        ({"min_id_length": "1"}, b'{"min_id_length":5}'),
        ({}, b'{"min_id_length":5}'),
        ([], b'{"min_id_length":5}'),
        (None, b'{"min_id_length":5}'),
    ],
)
def test_a_short_id_that_is_forgiven_goes_on_as_the_client_wants_it(
    options: Any, expected: bytes
) -> None:
    good = "somebody" * 5
    body = upload(event(user_id=good), event(user_id=good, device_id="d"), options=options)

    assert read(body, "/batch").options == expected


@pytest.mark.parametrize("options", [{"min_id_length": 8}, {"min_id_length": 2}, {}, None])
def test_events_without_short_ids_need_no_options_of_their_own(options: Any) -> None:
    body = upload(
        event(), event(device_id=1234567.5), event(device_id="anonymous"), options=options
    )

    assert read(body, "/batch").options == SHORT_IDS


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_stays() -> None:
    texts = rb'"\ud83d\ude00","\ud83d","\uDE00x","\\ud83d","\ud83d\ud83d\ude00","\\\ud83d"'
    raw = b'{"event_type":"seen","user_id":"somebody","texts":[%b]}' % texts

    [one] = decoded(read(b'{"api_key":"analytics-key","events":[%b]}' % raw))

    assert one["texts"] == ["😀", "\ufffd", "\ufffdx", r"\ud83d", "\ufffd😀", "\\\ufffd"]


def test_an_empty_upload_is_taken() -> None:
    assert read(upload()) == Upload(3, [], SHORT_IDS, len(upload()))


MOST_BYTES = ENDPOINTS["/batch"].most_bytes


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[%b0]}' % (b"0," * (MOST_BYTES // 2 - 20)),
        b'{"events":[%b]}' % (b"[" * (MOST_PARTS + 1) + b"]" * (MOST_PARTS + 1)),
        b'{"api_key":"\\ud800%b"}' % (b"\\n" * (MOST_PARTS + 1)),
        b'{"api_key":"%b"}' % (b"\\ud800" * (MOST_PARTS + 1)),
    ],
    ids=["zeros", "arrays", "escapes", "halves of pairs"],
)
def test_what_would_take_much_more_room_to_read_than_to_send_is_too_large(body: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(body, "/batch") == Refusal(code=413, error="Payload too large")
        assert tracemalloc.get_traced_memory()[1] < 2 * MOST_BYTES
    finally:
        tracemalloc.stop()


def test_as_many_values_as_many_large_events_have_are_taken() -> None:
    large = event(event_properties={f"name {number}": number for number in range(120)})

    assert len(read(upload(*[large] * 2000), "/batch").events) == 2000


def test_the_answer_has_the_four_members_that_clients_read() -> None:
    body = upload(event(), event())

    assert msgspec.to_builtins(ingested(read(body), AT)) == {
        "code": 200,
        "events_ingested": 2,
        "payload_size_bytes": len(body),
        "server_upload_time": AT,
    }


DEEP = '{"event_type":"seen","user_id":"somebody","deep":' + "[" * 700 + "]" * 700 + "}"
BAD_BODIES = [
    (b"", 400, "Missing request body"),
    (b" \r\n", 400, "Missing request body"),
    (b"{", 400, "Invalid JSON request body"),
    (b"[" * 5000, 400, "Invalid JSON request body"),
    (b"[]", 400, "Invalid JSON request body"),
    (b"null", 400, "Invalid JSON request body"),
    (upload(event(text="x")).replace(b"x", b"\xff"), 400, "Invalid JSON request body"),
    (upload(event(number=float("nan"))), 400, "Invalid JSON request body"),
    (upload(event(text="x")).replace(b'"x"', rb'"\ud800'), 400, "Invalid JSON request body"),
    (upload(*[event()] * 2001), 413, "Payload too large"),
    (b" " * ((1 << 20) + 1), 413, "Payload too large"),
]


@pytest.mark.parametrize(("body", "code", "error"), BAD_BODIES, ids=lambda value: str(value)[:40])
def test_what_is_no_upload_is_refused(body: bytes, code: int, error: str) -> None:
    assert refusal(body) == Refusal(code=code, error=error)


def test_a_batch_may_be_larger() -> None:
    body = upload(event(pad="x" * 3_000_000))

    assert refusal(body) == Refusal(code=413, error="Payload too large")
    assert len(read(body, "/batch", most=4_000_000).events) == 1


def test_an_event_that_could_never_be_sent_on_is_too_large() -> None:
    body = upload(event(), event(pad="x" * 2000))

    assert refusal(body, most=2000) == Refusal(code=413, error="Payload too large")
    assert len(read(body, most=3000).events) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "api_key"),
        (b'{"api_key":7,"events":[]}', "api_key"),
        (b'{"api_key":"","events":[]}', "api_key"),
        (b'{"api_key":["k"],"events":{}}', "api_key"),
        (b'{"events":{}}', "api_key"),
        (b'{"api_key":"analytics-key"}', "events"),
        (b'{"api_key":"analytics-key","events":{}}', "events"),
        (b'{"api_key":"analytics-key","events":null}', "events"),
    ],
)
def test_a_field_that_the_upload_lacks_is_named(body: bytes, field: str) -> None:
    expected = Refusal(code=400, error="Request missing required field", missing_field=field)
    assert refusal(body) == expected


def test_a_key_of_no_project_is_named_so_that_clients_give_up() -> None:
    assert refusal(upload(event(), api_key="other")).error == "Invalid API key: other"
    assert refusal(b'{"api_key":"other","events":7}').error == "Invalid API key: other"
    assert len(refusal(upload(event(), api_key="k" * 9000)).error) == 81


MISSING = "events_with_missing_fields"
INVALID = "events_with_invalid_fields"
SHORT = "events_with_invalid_id_lengths"
Wrong = dict[str, dict[str, list[int]]]
# What is wrong with events, by kind and field, at either endpoint; then where a batch forgives.
EVENTS: list[tuple[list[Any], Wrong]] = [
    ([event()], {}),
    ([event(event_type=5, user_id=123456)], {}),
    ([event(), 7, None, "x", [], {}], {MISSING: {"event_type": [1, 2, 3, 4, 5]}}),
    ([event(event_type=None)], {MISSING: {"event_type": [0]}}),
    ([event(event_type=""), event(event_type={})], {INVALID: {"event_type": [0, 1]}}),
    ([event(event_type=True), event(event_type=[])], {INVALID: {"event_type": [0, 1]}}),
    ([event(time="2023-11-14"), event(time=True)], {INVALID: {"time": [0, 1]}}),
    ([event(), event(time=[]), event(time={})], {INVALID: {"time": [1, 2]}}),
    ([event(user_id=None), event(user_id="")], {MISSING: {"user_id": [0, 1]}}),
    ([event(user_id=None, device_id="a device")], {}),
    ([event(user_id="", device_id="a device")], {}),
    ([event(), event(user_id="ada")], {SHORT: {"user_id": [1]}}),
    ([event(user_id=9999)], {SHORT: {"user_id": [0]}}),
    ([event(user_id="ada", device_id="ada")], {SHORT: {"user_id": [0]}}),
    ([event(user_id="Anonymous"), event(user_id=-1)], {INVALID: {"user_id": [0, 1]}}),
    ([event(user_id=True), event(user_id=["u"])], {INVALID: {"user_id": [0, 1]}}),
    (
        [event(user_id="ada"), {}, event(time=""), event(), event(user_id=None)],
        {
            MISSING: {"event_type": [1], "user_id": [4]},
            INVALID: {"time": [2]},
            SHORT: {"user_id": [0]},
        },
    ),
]
FORGIVEN: list[tuple[list[Any], Wrong]] = [
    ([event(user_id="ada", device_id="a device")], {SHORT: {"user_id": [0]}}),
    ([event(), event(device_id="d")], {SHORT: {"device_id": [1]}}),
    ([event(device_id=ZEROS)], {INVALID: {"device_id": [0]}}),
    ([event(device_id={})], {INVALID: {"device_id": [0]}}),
]
SINGLE, BATCH = "/2/httpapi", "/batch"


@pytest.mark.parametrize(
    ("path", "events", "wrong"),
    [
        *[(path, *row) for row in EVENTS for path in (SINGLE, BATCH)],
        *[(SINGLE, *row) for row in FORGIVEN],
        *[(BATCH, events, {}) for events, _ in FORGIVEN],
    ],
)
def test_wrong_events_are_named_by_kind_and_field_and_the_sandbox_agrees(
    path: str, events: list[Any], wrong: Wrong
) -> None:
    body = upload(*events)
    there, _ = Ingest(KEY).post(path, body, 0)

    if not wrong:
        assert len(read(body, path).events) == len(events)
        assert there["code"] == 200
    else:
        here = msgspec.to_builtins(refusal(body, path))
        assert here == {"code": 400, "error": here["error"], **wrong} == there


def test_ids_may_be_as_short_as_the_options_say() -> None:
    body = upload(event(user_id="a"), options={"min_id_length": 1})
    longer = upload(event(user_id="somebody"), options={"min_id_length": 9})

    assert len(read(body).events) == 1
    assert refusal(longer).events_with_invalid_id_lengths == {"user_id": [0]}


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1" + "0" * 30, "1e999", "-1e300", "9007199254740992"]
)
def test_a_time_that_is_no_moment_is_invalid(number: str) -> None:
    raw = f'{{"event_type":"seen","user_id":"somebody","time":{number}}}'
    body = f'{{"api_key":"{KEY}","events":[{raw}]}}'.encode()

    assert refusal(body).events_with_invalid_fields == {"time": [0]}


def test_what_is_nested_too_deeply_to_be_read_again_is_invalid() -> None:
    body = f'{{"api_key":"{KEY}","events":[{json.dumps(event())},{DEEP}]}}'.encode()
    shallow = upload(event(many=[[]] * 2000))

    assert refusal(body).events_with_invalid_fields == {"event_properties": [1]}
    assert len(read(shallow).events) == 1


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
FIELDS = ("event_type", "user_id", "device_id", "time", "insert_id", "ip")
any_event = any_json | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, any_json))
any_body = st.fixed_dictionaries(
    {"api_key": st.just(KEY), "events": st.lists(any_event, max_size=4) | any_json},
    optional={"options": any_json, "client_upload_time": any_json | st.datetimes().map(str)},
)


@given(any_body.map(json.dumps) | st.text(), st.sampled_from(["/2/httpapi", "/batch"]))
def test_whatever_comes_is_taken_as_a_whole_or_refused(body: str, path: str) -> None:
    try:
        taken = read(body.encode("utf-8", "replace"), path, address="203.0.113.9")
    except UploadRefused:
        return
    assert len(taken.events) == len(json.loads(body)["events"])
    for one in decoded(taken):
        assert one["event_type"]
        assert one["insert_id"]
        assert one["time"] is not None
        assert one.get("ip") != "$remote"
        assert one.get("user_id") or one.get("device_id")
