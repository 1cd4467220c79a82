"""The bookkeeping of one project, without a disk."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.events.event import RECORD_BYTES, Event, Slip
from proxy.events.lane import Lane
from proxy.events.queue import Queue
from proxy.upstream.analytics import Limits

WIDE = Limits(events=1000, size=1_000_000)


def filled(*bodies: bytes, max_memory: int = 100_000) -> tuple[Queue, list[tuple[str, int]]]:
    lost: list[tuple[str, int]] = []
    queue = Queue("p", lambda why, slips: lost.extend((why, slip.key) for slip in slips))
    for number, body in enumerate(bodies, 1):
        queue.offer(Event(number, body, float(number), number), max_memory)
    return queue, lost


def take(queue: Queue, lane: Lane, limits: Limits = WIDE, last: int = 2**40) -> Sequence[Event]:
    batch = queue.batch(lane, last, limits, [])
    queue.lend(batch)
    return batch


def bodies_of(events: Sequence[Event]) -> list[bytes]:
    return [event.body for event in events]


def test_the_oldest_give_way() -> None:
    queue, lost = filled(*[b"x" * 10] * 4, max_memory=3 * (RECORD_BYTES + 10))

    assert lost == [("full", 1)]
    assert [event.key for event in take(queue, queue.live)] == [2, 3, 4]


def test_what_is_on_its_way_does_not_give_way() -> None:
    queue, lost = filled(b"a", b"b", max_memory=2 * (RECORD_BYTES + 1))
    take(queue, queue.live)

    queue.offer(Event(3, b"c", 3.0, 3), 2 * (RECORD_BYTES + 1))

    assert lost == [("full", 3)]
    assert queue.count == 2


def test_what_comes_back_stands_where_it_stood() -> None:
    queue, _ = filled(b"a", b"b")
    batch = take(queue, queue.live)
    queue.offer(Event(3, b"c", 3.0), 100_000)

    queue.release(event.number for event in batch)

    assert bodies_of(take(queue, queue.live)) == [b"a", b"b", b"c"]


def test_a_batch_ends_where_it_is_told_to() -> None:
    queue, _ = filled(b"a", b"b", b"c")

    assert bodies_of(take(queue, queue.live, last=2)) == [b"a", b"b"]


def test_more_than_some_batches_become_a_backlog_that_later_events_pass() -> None:
    queue, _ = filled(b"a", b"b", b"c")
    small = Limits(events=1, size=1000)

    assert not queue.set_back(3, small)
    assert queue.set_back(2, small)
    queue.offer(Event(4, b"d", 4.0), 100_000)

    assert (queue.backlog.count, queue.live.count) == (3, 1)
    assert bodies_of(take(queue, queue.live)) == [b"d"]
    assert bodies_of(take(queue, queue.backlog)) == [b"a", b"b", b"c"]


def test_many_bytes_are_a_backlog_too() -> None:
    queue, _ = filled(b"a" * 5000)

    assert queue.set_back(4, Limits(events=1000, size=1000))


def test_the_old_expire_save_those_on_their_way() -> None:
    queue, lost = filled(b"a", b"b", b"c", b"d")
    take(queue, queue.live, last=1)

    queue.expire(4.0)

    assert lost == [("too_old", 2), ("too_old", 3)]
    assert queue.count == 2


def test_what_was_settled_while_it_was_written_is_deleted_from_disk_afterwards() -> None:
    queue, _ = filled(b"a", b"b")
    take(queue, queue.live)
    queue.begin_write(2)

    queue.settle([1])
    queue.written([1, 2], [])

    assert queue.gone == {1}
    assert (queue.count, queue.in_memory()) == (1, 0)


def test_what_was_settled_while_it_could_not_be_written_is_gone() -> None:
    queue, _ = filled(b"a", b"b")
    take(queue, queue.live)
    queue.begin_write(2)

    queue.settle([1])
    queue.not_written()

    assert queue.gone == set()
    assert (queue.count, queue.in_memory()) == (1, 1)


def test_what_is_being_written_is_not_dropped() -> None:
    queue, lost = filled(b"a", b"b")
    queue.begin_write(1)

    queue.expire(9.0)

    assert lost == [("too_old", 2)]


def test_a_lost_disk_costs_what_was_on_it_and_was_not_on_its_way() -> None:
    queue, lost = filled(b"a", b"b", b"c")
    take(queue, queue.live, last=2)
    queue.begin_write(2)
    queue.written([1, 2], [])
    queue.release([2])

    queue.lost_the_disk()

    assert lost == [("damaged", 0)]
    assert queue.count == 2
    queue.settle([1])
    assert bodies_of(take(queue, queue.live)) == [b"c"]
    assert queue.size == len(b"c") + RECORD_BYTES


def on_disk(queue: Queue, last: int) -> None:
    """Let what is in memory up to a number be written."""
    events = [event for event in queue.unwritten() if event.number <= last]
    queue.begin_write(last)
    queue.written([event.number for event in events], [])


def test_what_comes_back_when_the_disk_is_lost_is_lost_as_well() -> None:
    queue, lost = filled(b"a", b"b", b"c")
    take(queue, queue.live, last=2)
    on_disk(queue, 2)
    queue.lost_the_disk()

    assert not queue.release([1])
    queue.settle([2])

    assert lost == [("damaged", 1)]
    assert (queue.count, queue.live.count, queue.in_memory()) == (1, 1, 1)
    assert queue.size == len(b"c") + RECORD_BYTES
    assert not queue.gone, "in a new file the number may be somebody else's"
    assert not queue.has_on_disk()


def test_what_is_lent_when_the_disk_is_lost_is_lost_when_all_is_given_up() -> None:
    queue, lost = filled(b"a")
    take(queue, queue.live)
    on_disk(queue, 1)
    queue.lost_the_disk()

    queue.give_up()

    assert lost == [("damaged", 1)]
    assert (queue.count, queue.size) == (0, 0)


def test_only_what_is_in_memory_and_at_rest_can_be_withdrawn() -> None:
    queue, lost = filled(b"a", b"b", b"c", b"d", b"e")
    on_disk(queue, 1)
    queue.begin_write(2)
    batch = queue.batch(queue.live, 3, WIDE, [])
    queue.lend([event for event in batch if event.number == 3])

    assert queue.withdraw(range(1, 6)) == 2

    assert (queue.count, queue.live.count, queue.in_memory()) == (3, 2, 2)
    assert lost == []


def test_what_is_written_after_it_was_given_up_stays_on_disk() -> None:
    queue, lost = filled(b"a", b"b")
    queue.begin_write(1)
    counted: list[int] = []
    queue.on_written = counted.append

    assert queue.give_up() == 2
    queue.written([1], [])
    queue.written([2], [])

    assert [reason for reason, _ in lost] == ["stopped", "stopped"]
    assert not queue.gone
    assert (queue.count, queue.size, counted) == (0, 0, [0, 0])


def test_an_answer_for_what_was_given_up_changes_nothing() -> None:
    queue, lost = filled(b"a")
    [one] = take(queue, queue.live)

    assert queue.give_up() == 1
    queue.settle([one.number])

    assert lost == [("stopped", 1)]
    assert not queue.is_lent(one)
    assert queue.count == 0


def test_an_empty_queue_has_no_age() -> None:
    queue, _ = filled()

    assert queue.oldest_at() is None
    assert not take(queue, queue.live)


def test_the_oldest_may_be_on_disk() -> None:
    queue, _ = filled(b"a")
    queue.found(2, 400, 0.5)

    assert queue.oldest_at() == 0.5
    assert (queue.count, queue.backlog.count) == (3, 2)


class Life(RuleBasedStateMachine):
    """Whatever happens: every event is in one place, in order, and the bound holds."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[Slip] = []
        self.queue = Queue("p", lambda _, slips: self.lost.extend(slips))
        self.now = 0.0
        self.made = 0
        self.inside: list[int] = []
        self.batches: list[Sequence[Event]] = []

    def leave(self) -> list[int]:
        gone = [slip.number for slip in self.lost]
        self.lost.clear()
        for number in gone:
            self.inside.remove(number)
        return gone

    @property
    def lent(self) -> set[int]:
        return {event.number for batch in self.batches for event in batch}

    @rule(size=st.integers(0, 600))
    def offer(self, size: int) -> None:
        self.made += 1
        self.inside.append(self.made)
        oldest = [number for number in self.inside if number not in self.lent]
        self.queue.offer(Event(self.made, b"x" * size, self.now), 2000)
        gone = self.leave()
        assert gone == oldest[: len(gone)]

    @rule(seconds=st.floats(0, 20))
    def pause(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.integers(0, 3))
    def set_back(self, most: int) -> None:
        self.queue.set_back(most, Limits(events=1, size=600))

    @precondition(lambda self: len(self.batches) < 3)
    @rule(events=st.integers(1, 6), size=st.integers(600, 1500), live=st.booleans())
    def take(self, events: int, size: int, live: bool) -> None:
        lane = self.queue.live if live else self.queue.backlog
        waiting = lane.count
        batch = take(self.queue, lane, Limits(events=events, size=size))
        numbers = [event.number for event in batch]
        assert numbers == sorted(set(numbers) - self.lent)
        assert len(batch) <= events
        assert sum(len(event.body) for event in batch) <= size
        assert bool(batch) == bool(waiting)
        if batch:
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(ends=st.lists(st.booleans(), min_size=6, max_size=6))
    def settle(self, ends: list[bool]) -> None:
        batch = self.batches.pop()
        gone = [event.number for event, end in zip(batch, ends, strict=False) if end]
        self.queue.settle(gone)
        self.queue.release(event.number for event in batch if event.number not in gone)
        for number in gone:
            self.inside.remove(number)

    @rule(back=st.floats(0, 30))
    def expire(self, back: float) -> None:
        self.queue.expire(self.now - back)
        assert not self.lent & set(self.leave())

    @invariant()
    def bounds_and_counts_hold(self) -> None:
        assert self.queue.count == len(self.inside)
        assert self.queue.memory_size == self.queue.size <= 2000
        assert self.queue.live.count + self.queue.backlog.count == self.queue.count - len(self.lent)
        assert not self.queue.gone

    def teardown(self) -> None:
        assert self.queue.give_up() == len(self.inside)
        assert sorted(slip.number for slip in self.lost) == sorted(self.inside)
        assert (self.queue.size, self.queue.count) == (0, 0)


TestLife = Life.TestCase
