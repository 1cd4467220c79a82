from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.events.batches import fitting, lowered, without
from proxy.secret import Secret
from proxy.upstream.analytics import Limits, payload

KEY = Secret("api-key")
ENVELOPE = len(payload(KEY, []))

limits_in_force = st.builds(
    Limits, events=st.integers(1, 12), size=st.integers(ENVELOPE + 1, ENVELOPE + 300)
)
events_to_send = st.lists(st.integers(2, 120).map(lambda size: b"[" + b" " * (size - 2) + b"]"))


def cut_up(events: list[bytes], limits: Limits) -> list[list[bytes]]:
    batches = []
    while events:
        count = fitting((len(event) for event in events), limits)
        batches.append(events[:count])
        events = events[count:]
    return batches


@given(events_to_send, limits_in_force)
def test_each_request_is_within_both_limits_and_nothing_is_lost_or_moved(
    events: list[bytes], limits: Limits
) -> None:
    inside = without(limits, ENVELOPE)
    sendable = [event for event in events if len(event) <= inside.size]

    batches = cut_up(sendable, inside)

    assert [event for batch in batches for event in batch] == sendable
    for batch in batches:
        assert 1 <= len(batch) <= limits.events
        assert len(payload(KEY, batch)) <= limits.size


@given(events_to_send, limits_in_force)
def test_no_batch_could_have_held_the_next_event_too(events: list[bytes], limits: Limits) -> None:
    inside = without(limits, ENVELOPE)
    batches = cut_up([event for event in events if len(event) <= inside.size], inside)

    for batch, following in pairwise(batches):
        more = [*batch, following[0]]
        assert len(more) > limits.events or len(payload(KEY, more)) > limits.size


def test_nothing_fits_when_there_is_nothing() -> None:
    assert fitting([], Limits(events=5, size=100)) == 0


def test_a_limit_is_reached_exactly() -> None:
    assert fitting([50, 49], Limits(events=5, size=100)) == 2
    assert fitting([50, 50], Limits(events=5, size=100)) == 1
    assert fitting([1, 1, 1], Limits(events=2, size=100)) == 2


def test_a_refused_batch_halves_the_number_of_events() -> None:
    limits = Limits(events=2000, size=100)

    assert lowered(limits, 7) == Limits(events=4, size=100)
    assert lowered(limits, 1) == Limits(events=1, size=100)
