from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.events.buffer import RECORD_BYTES, Buffer, Event
from proxy.upstream.analytics import Limits

WIDE = Limits(events=1000, size=1_000_000)


def filled(*bodies: bytes, max_bytes: int = 100_000) -> Buffer:
    buffer = Buffer(max_bytes, period_seconds=10.0)
    for at, body in enumerate(bodies):
        buffer.append(body, float(at), at, now=float(at))
    return buffer


def bodies_of(events: Sequence[Event]) -> list[bytes]:
    return [event.body for event in events]


def test_a_batch_is_due_when_enough_events_wait_or_the_first_has_waited_long_enough() -> None:
    buffer = filled()
    assert buffer.due_at(3) is None

    buffer.append(b"a", 0.0, 0, now=5.0)
    buffer.append(b"b", 0.0, 0, now=8.0)
    assert buffer.due_at(3) == 15.0

    buffer.append(b"c", 0.0, 0, now=9.0)
    assert buffer.due_at(3) == 5.0


def test_the_oldest_give_way() -> None:
    buffer = filled(max_bytes=3 * (RECORD_BYTES + 10))
    gone = [buffer.append(body * 10, 0.0, 0, now=0.0) for body in (b"a", b"b", b"c", b"d")]

    assert [bodies_of(events) for events in gone] == [[], [], [], [b"a" * 10]]
    assert bodies_of(buffer.take(WIDE, now=0.0)) == [b"b" * 10, b"c" * 10, b"d" * 10]


def test_what_is_on_its_way_does_not_give_way() -> None:
    buffer = filled(b"a" * 10, b"b" * 10, max_bytes=2 * (RECORD_BYTES + 10))
    buffer.take(WIDE, now=0.0)

    gone = buffer.append(b"c" * 10, 0.0, 0, now=0.0)

    assert bodies_of(gone) == [b"c" * 10]
    assert len(buffer) == 2


def test_what_comes_back_goes_first_and_at_once() -> None:
    buffer = filled(b"a", b"b")
    batch = buffer.take(WIDE, now=20.0)
    buffer.append(b"c", 0.0, 0, now=20.0)

    buffer.settle(back=batch)

    assert buffer.due_at(3) == float("-inf")
    assert bodies_of(buffer.take(WIDE, now=20.0)) == [b"a", b"b", b"c"]


def test_what_is_held_comes_when_its_time_has_come() -> None:
    buffer = filled(b"a", b"b", b"c")
    batch = buffer.take(WIDE, now=3.0)
    buffer.settle(back=[batch[2]], held=[batch[0]], until=33.0)

    assert len(buffer) == 2
    assert buffer.held_until() == float("-inf"), "something else waits"
    assert bodies_of(buffer.take(WIDE, now=32.0)) == [b"c"]
    buffer.settle()
    assert buffer.held_until() == 33.0
    assert buffer.due_at(3) == 33.0
    assert buffer.oldest_at() == 0.0
    assert bodies_of(buffer.take(WIDE, now=33.0)) == [b"a"]


def test_a_batch_ends_where_it_is_told_to() -> None:
    buffer = filled(b"a", b"b", b"c")

    assert buffer.first_number() == 1
    assert bodies_of(buffer.take(WIDE, now=0.0, last=2)) == [b"a", b"b"]


def test_the_old_expire_wherever_they_are() -> None:
    buffer = filled(b"a", b"b", b"c", b"d")
    batch = buffer.take(Limits(events=3, size=1000), now=0.0)
    buffer.settle(back=[batch[0], batch[1]], held=[batch[2]], until=99.0)
    taken = buffer.take(Limits(events=1, size=1000), now=0.0)

    gone = buffer.expire(before=3.0)

    assert bodies_of(taken) == [b"a"]
    assert sorted(bodies_of(gone)) == [b"b", b"c"]
    assert len(buffer) == 2


def test_an_empty_buffer_has_no_age_and_no_number() -> None:
    buffer = filled()

    assert buffer.oldest_at() is None
    assert buffer.first_number() is None
    assert not buffer.take(WIDE, now=0.0)
    assert buffer.held_until() == float("-inf")


class Life(RuleBasedStateMachine):
    """Whatever happens: every event is in one place, in order, and the bound holds."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = Buffer(2000, period_seconds=10.0)
        self.now = 0.0
        self.made = 0
        self.inside: list[int] = []
        self.batch: Sequence[Event] = ()

    @rule(size=st.integers(0, 600))
    def append(self, size: int) -> None:
        self.made += 1
        gone = self.buffer.append(b"x" * size, self.now, self.made, self.now)
        self.inside.append(self.made)
        taken = {event.key for event in self.batch}
        for event in gone:
            oldest = min(key for key in self.inside if key not in taken)
            assert event.key == oldest
            self.inside.remove(event.key)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.batch)
    @rule(events=st.integers(1, 6), size=st.integers(600, 1500))
    def take(self, events: int, size: int) -> None:
        self.batch = self.buffer.take(Limits(events=events, size=size), self.now)
        assert [event.key for event in self.batch] == sorted(event.key for event in self.batch)
        assert len(self.batch) <= events
        assert sum(len(event.body) for event in self.batch) <= size

    @precondition(lambda self: self.batch)
    @rule(ends=st.lists(st.sampled_from(["gone", "back", "held"]), min_size=6, max_size=6))
    def settle(self, ends: list[str]) -> None:
        fate = list(zip(self.batch, ends, strict=False))
        back = [event for event, end in fate if end == "back"]
        held = [event for event, end in fate if end == "held"]
        self.buffer.settle(back, held, self.now + 15)
        for event, end in fate:
            if end == "gone":
                self.inside.remove(event.key)
        self.batch = ()

    @precondition(lambda self: not self.batch)
    @rule(back=st.floats(0, 30))
    def expire(self, back: float) -> None:
        for event in self.buffer.expire(self.now - back):
            assert event.at < self.now - back
            self.inside.remove(event.key)

    @invariant()
    def bounds_and_counts_hold(self) -> None:
        assert len(self.buffer) == len(self.inside)
        assert self.buffer.size <= 2000

    def teardown(self) -> None:
        assert [event.key for event in self.buffer.clear()] == sorted(self.inside)
        assert self.buffer.size == 0
        assert len(self.buffer) == 0


TestLife = Life.TestCase


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 7), st.integers(50, 200))
def test_batches_taken_one_after_the_other_hold_everything_once_and_in_order(
    sizes: list[int], events: int, size: int
) -> None:
    buffer = filled(*[b"x" * one for one in sizes])
    taken = []

    while batch := buffer.take(Limits(events=events, size=size), now=0.0):
        taken += [event.key for event in batch]
        buffer.settle()

    assert taken == list(range(len(sizes)))
