from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events.answers import LONGEST_HOLD_SECONDS, Verdict, judge
from proxy.upstream.analytics import Receipt
from tests.events.builders import receipt

IDS = [("u0", "d0"), ("u1", "d1"), ("u2", "d0"), ("u3", None)]
BATCH = [msgspec.json.encode({"user_id": user, "device_id": device}) for user, device in IDS]
ALL = (0, 1, 2, 3)


def verdict(status: int, retry_after: float | None = None, **body: Any) -> Verdict:
    return judge(receipt(status, retry_after, **body), BATCH, 15.0)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"success", b"[1]", b"[" * 5000, b"\xff\xfe", b'{"code":200,"events_ingested":0}'),
        *(b'{"code":302}', b'{"code":true}', b'{"code":"400"}', b'{"code":4e2}', b'{"code":99999}'),
    ],
)
def test_a_200_accepts_whatever_its_body_says(body: bytes) -> None:
    assert judge(Receipt(200, body), BATCH, 15.0) == Verdict(why="accepted", accepted=ALL)


@pytest.mark.parametrize("code", [400, 413, 429, 500, 503])
def test_a_failure_that_only_the_body_tells_is_one(code: int) -> None:
    told = msgspec.json.encode({"code": code, "error": "no", "throttled_events": [1]})

    assert judge(Receipt(200, told, 3.0), BATCH, 15.0) == judge(
        Receipt(code, told, 3.0), BATCH, 15.0
    )


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_page_in_upstreams_place_accepts_nothing(mark: bytes) -> None:
    found = judge(Receipt(200, mark + b"\n<html>please log in</html>"), BATCH, 15.0)

    assert (found.accepted, found.resent, found.slower) == ((), ALL, True)
    assert found.why.startswith("answered 200 with a web page")


@pytest.mark.parametrize(
    "status",
    [100, 301, 302, 307, 304, 401, 403, 404, 407, 408, 425, 500, 502, 503, 504, 599],
)
def test_what_may_pass_is_resent_later(status: int) -> None:
    found = judge(Receipt(status, b"", None), BATCH, 15.0)

    assert found == Verdict(why=f"answered {status}", resent=ALL, slower=True)


def test_no_answer_is_resent_later() -> None:
    assert judge(None, BATCH, 15.0) == Verdict(why="no answer", resent=ALL, slower=True)


def test_retry_after_is_the_least_rest() -> None:
    assert verdict(503, 7.0).wait == 7.0
    assert verdict(429, 7.0).wait == 7.0
    assert verdict(404, 7.0).wait == 7.0
    assert verdict(400, 7.0, throttled_events=[0]).hold_seconds == 7.0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": "Invalid API key: abc"}, "invalid_api_key"),
        ({"missing_field": "api_key", "error": "Request missing required field"}, "missing_field"),
        ({"missing_field": "events", "events_with_invalid_fields": {"a": [0]}}, "missing_field"),
    ],
)
def test_a_hopeless_request_loses_all(body: dict[str, Any], reason: str) -> None:
    found = verdict(400, **body)

    assert found.dropped == dict.fromkeys(ALL, reason)
    assert found.slower


@pytest.mark.parametrize("depth", range(900, 1000))
def test_an_error_that_is_nested_deeply_is_no_error_of_ours(depth: int) -> None:
    body = b'{"error":%b}' % (b"[" * depth + b"]" * depth)

    assert judge(Receipt(400, body), BATCH, 15.0).resent == ALL


@pytest.mark.parametrize(
    ("body", "dropped", "held"),
    [
        ({"events_with_invalid_fields": {"time": [1], "x": [3, 1]}},
         {1: "invalid", 3: "invalid"}, ()),
        ({"events_with_missing_fields": {"event_type": [0]}}, {0: "invalid"}, ()),
        ({"events_with_invalid_id_lengths": {"user_id": [2]}}, {2: "invalid"}, ()),
        ({"silenced_events": [1, 2]}, {1: "silenced", 2: "silenced"}, ()),
        ({"silenced_devices": ["d0"]}, {0: "silenced", 2: "silenced"}, ()),
        ({"exceeded_daily_quota_devices": {"d1": 5}}, {1: "quota"}, ()),
        ({"throttled_events": [0, 3]}, {}, (0, 3)),
        ({"events_with_invalid_fields": {"a": [0]}, "throttled_events": [0, 1]},
         {0: "invalid"}, (1,)),
    ],
)  # fmt: skip
def test_a_400_names_events(
    body: dict[str, Any], dropped: dict[int, str], held: tuple[int, ...]
) -> None:
    found = verdict(400, **body)

    assert found.dropped == dropped
    assert found.held == held
    assert found.resent == tuple(one for one in ALL if one not in dropped and one not in held)
    assert not found.halve
    assert not found.slower, "the others go at once"
    assert found.hold_seconds == (15.0 if held else 0.0)


@pytest.mark.parametrize(
    ("body", "dropped", "held"),
    [
        ({"throttled_events": [1]}, {}, (1,)),
        ({"throttled_users": {"u3": 31}}, {}, (3,)),
        ({"throttled_devices": {"d0": 31}}, {}, (0, 2)),
        ({"exceeded_daily_quota_users": {"u0": 9}, "throttled_devices": {"d0": 31}},
         {0: "quota"}, (2,)),
        ({"exceeded_daily_quota_users": ["u1"], "throttled_events": [0, 1, 2, 3]},
         {1: "quota"}, (0, 2, 3)),
    ],
)  # fmt: skip
def test_a_429_holds_the_throttled_and_drops_those_over_quota(
    body: dict[str, Any], dropped: dict[int, str], held: tuple[int, ...]
) -> None:
    found = verdict(429, **body)

    assert (found.dropped, found.held) == (dropped, held)
    assert found.hold_seconds == 15.0
    assert found.resent == tuple(one for one in ALL if one not in dropped and one not in held)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"no"', b"[" * 5000])
def test_a_refusal_whose_body_cannot_be_read_names_nobody(body: bytes) -> None:
    assert judge(Receipt(400, body), BATCH, 15.0).halve
    assert judge(Receipt(429, body), BATCH, 15.0).wait == 15.0


@pytest.mark.parametrize("body", [{}, {"throttled_events": [9]}, {"throttled_users": {"x": 1}}])
def test_a_429_that_names_nobody_here_rests(body: dict[str, Any]) -> None:
    assert verdict(429, **body) == Verdict(why="throttled", resent=ALL, slower=True, wait=15.0)


@pytest.mark.parametrize(
    "found",
    [
        verdict(400, error="something else"),
        verdict(400, silenced_events=[99, -1, "0", True]),
        verdict(405),
        verdict(415),
        verdict(422, events_with_invalid_fields={"a": [0]}),
    ],
)
def test_a_refusal_that_names_nobody_is_searched_by_halves(found: Verdict) -> None:
    assert (found.resent, found.halve, found.slower) == (ALL, True, False)


@pytest.mark.parametrize("status", [400, 429])
def test_what_is_throttled_rests_a_little_even_if_upstream_asks_for_no_wait(status: int) -> None:
    found = verdict(status, 0.0, throttled_events=[0, 1, 2, 3])

    assert found.hold_seconds == 1.0


def test_what_is_throttled_does_not_rest_for_hours() -> None:
    assert verdict(429, 3600.0, throttled_events=[0]).hold_seconds == LONGEST_HOLD_SECONDS


def test_an_event_that_cannot_be_read_is_nobody_that_upstream_named() -> None:
    batch = [b"\xff", b'{"user_id":"\xff"}', b'{"user_id":"u"}']

    found = judge(receipt(429, throttled_users={"u": 9}), batch, 15.0)

    assert (found.held, found.resent) == ((2,), (0, 1))


def test_a_413_asks_for_smaller_batches() -> None:
    assert verdict(413) == Verdict(why="too large", resent=ALL, shrink=True)


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "refused"), (422, "refused"), (413, "too_large")]
)
def test_a_single_event_that_is_refused_is_dropped(status: int, reason: str) -> None:
    found = judge(receipt(status), BATCH[:1], 15.0)

    assert found.dropped == {0: reason}
    assert found.slower, "if it was not its fault, the next are not lost at full speed"


FIELDS = [
    "error", "missing_field", "events_with_invalid_fields", "events_with_missing_fields",
    "events_with_invalid_id_lengths", "silenced_events", "silenced_devices", "throttled_events",
    "throttled_users", "throttled_devices", "exceeded_daily_quota_users",
    "exceeded_daily_quota_devices",
]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-2, 6) | st.sampled_from(["u0", "d0", "d1"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["u1", "d0", "time"]), inner),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(FIELDS), values).map(msgspec.json.encode) | st.binary()


@given(
    st.none() | st.builds(Receipt, st.integers(100, 599), bodies, st.none() | st.floats(0, 90)),
    st.integers(1, 4),
)
def test_every_event_meets_exactly_one_end(answer: Receipt | None, count: int) -> None:
    found = judge(answer, BATCH[:count], 15.0)

    ends = [*found.accepted, *found.dropped, *found.held, *found.resent]
    assert sorted(ends) == list(range(count))
    assert list(found.resent) == sorted(found.resent)
    smaller = found.halve or found.shrink or len(found.resent) < count
    assert not found.resent or smaller or found.slower, "never the same again at once"
