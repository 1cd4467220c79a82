"""One project's events in the spool: where each is, and what waits. Knows neither disk nor network.

An event is in memory until it is written, on disk afterwards. It waits in one of two lanes, so
that what comes in now need not stand in line behind an outage: the *backlog* holds every number
up to a mark, *live* holds the later ones. It is *lent* while the sender has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from proxy.events.batches import LOOK_AHEAD, fitting
from proxy.events.event import UNKNOWN, Event, Slip
from proxy.events.lane import Lane
from proxy.upstream.analytics import Limits

Lost = Callable[[str, Sequence[Slip]], None]
"""Told of events that are lost for good: why, and which."""
_NOBODY: Callable[[int], None] = lambda _count: None  # noqa: E731  one line, not three


class Queue:
    """The bookkeeping of one project: `count` and `size` are all that is pending, lent or not.

    Of what is written, up to `most_kept` bytes stay in memory, so that they need not be read again.
    """

    def __init__(self, label: str, on_lost: Lost, most_kept: int = 0) -> None:
        self.label = label
        self.on_lost = on_lost
        self.on_written, self.on_found = _NOBODY, _NOBODY
        self.live = Lane()
        self.backlog = Lane()
        self.count = 0
        self.size = 0
        self.memory_size = 0
        self.kept_size = 0
        self._most_kept = most_kept
        self.oldest_on_disk: float | None = None
        self.gone: set[int] = set()  # settled, but on disk still
        self._lent: dict[int, Slip] = {}
        self._astray: set[int] = set()  # lent, and neither in memory nor on disk any more
        self._given_up: set[int] = set()
        self._mark = 0
        self._last = 0
        self._writing = 0  # what is in memory up to this number is being written

    def found(self, count: int, size: int, oldest: float) -> None:
        """Take note of events that an earlier process left on disk; their numbers are below 1."""
        self.count += count
        self.size += size
        self.backlog.count += count
        self.backlog.size += size
        self.oldest_on_disk = oldest
        self.on_found(count)

    def offer(self, event: Event, max_memory: int) -> None:
        """Add an event with the highest number so far; in memory the oldest give way for it."""
        self._last = event.number
        self.live.memory[event.number] = event
        slip = event.slip
        self.live.add(slip)
        self.count += 1
        self.size += slip.size
        self.memory_size += slip.size
        if self.memory_size > max_memory:
            self._give_way(max_memory)

    def set_back(self, most: int, limits: Limits) -> bool:
        """Make a backlog of what waits when it is more than `most` batches; return whether it was.

        What comes later need not wait for that.
        """
        if self.live.count <= most * limits.events and self.live.size <= most * limits.size:
            return False
        self._mark = self._last
        self.backlog.take_over(self.live)
        return True

    def span(self, lane: Lane) -> tuple[int, int]:
        """Return the least and the greatest number of a lane."""
        return (self._mark + 1, 2**62) if lane is self.live else (-(2**62), self._mark)

    def withheld(self) -> list[int]:
        """Return the numbers on disk that must not be read: lent, or settled."""
        return [*self._lent, *self.gone]

    def must_read(self, lane: Lane) -> bool:
        """Tell whether anything that waits in a lane is on disk alone."""
        return lane.lacks_bodies(self._lent)

    def has_on_disk(self) -> bool:
        """Tell whether anything that is pending is on disk."""
        return self.count > self.in_memory()

    def in_memory(self) -> int:
        """Return how many events are not on disk."""
        return len(self.live.memory) + len(self.backlog.memory)

    def unwritten(self) -> Iterator[Event]:
        """Go through what is not on disk, in order."""
        return chain(self.backlog.memory.values(), self.live.memory.values())

    def batch(
        self, lane: Lane, last: int, limits: Limits, read: Sequence[Event] = ()
    ) -> Sequence[Event]:
        """Return the batch that begins with what was read from disk and goes on in memory.

        When nothing was, it begins with what is kept.
        """
        near = [*read, *lane.bodies(last, self._lent, LOOK_AHEAD * limits.events, kept=not read)]
        # One request has one set of options: the oldest event's. Others wait for their turn.
        alike = [event for event in near if event.options == near[0].options]
        return alike[: fitting((len(event.body) for event in alike), limits)]

    def lend(self, events: Iterable[Event]) -> None:
        """Take note that the sender has these."""
        for event in events:
            slip = self._lent[event.number] = event.slip
            self._lane_of(event.number).remove(slip)

    def lent(self) -> list[int]:
        """Return the numbers of what the sender has."""
        return [*self._lent]

    def is_lent(self, event: Event) -> bool:
        """Tell whether the sender has this event still."""
        return event.number in self._lent

    def release(self, numbers: Iterable[int]) -> list[Slip]:
        """Let lent events wait again, each in its old place; return those."""
        back, lost = [], []
        for number in numbers:
            slip = self._lent.pop(number, None)
            if slip is None:
                continue
            if number in self._astray:
                lost.append(slip)
                continue
            back.append(slip)
            self._lane_of(number).add(slip)
        if lost:
            self._lose_astray(lost)
        return back

    def withdraw(self, numbers: Iterable[int]) -> int:
        """Take back events that are in memory only and not on their way; return how many."""
        events = [event for event in map(self._in_memory, numbers) if event and self._may_go(event)]
        for event in events:
            self._remove(event)
        return len(events)

    def settle(self, numbers: Iterable[int]) -> None:
        """End the way of lent events: upstream has answered for them."""
        for number in numbers:
            slip = self._lent.pop(number, None)
            if slip is None:
                continue
            self._uncount(slip)
            if number in self._astray:
                self._astray.discard(number)
            elif number > self._writing and number in self._lane_of(number).memory:
                self._forget(number)
            else:
                self.gone.add(number)
                self._unkeep(number)

    def begin_write(self, up_to: int) -> None:
        """Take note that what is in memory up to this number is on its way to the disk."""
        self._writing = up_to

    def written(self, numbers: Iterable[int], gone: Iterable[int]) -> None:
        """Take note that these are on disk now, perhaps after all, and `gone` no longer."""
        self._writing = 0
        if self.gone:
            self.gone.difference_update(gone)
        count = 0
        for number in numbers:
            if self._in_memory(number):
                self._put_away(number)
                count += 1
            # What was given up stays on disk: the next process sends it.
            elif number not in self._given_up:
                self.gone.add(number)
        self.on_written(count)

    def not_written(self) -> None:
        """Take note that what was being written is in memory only."""
        self._writing = 0
        for number in [number for number in self.gone if number in self._lane_of(number).memory]:
            self._forget(number)
            self.gone.discard(number)

    def lost_on_disk(self, reason: str, slips: Sequence[Slip]) -> None:
        """Take note that the disk gave these up; none of them was lent."""
        for slip in slips:
            self._uncount(slip)
            self._lane_of(slip.number).remove(slip)
            self._unkeep(slip.number)
        self.on_lost(reason, slips)

    def lost_the_disk(self) -> None:
        """Take note that all that waited on disk alone is lost; what is lent may arrive still."""
        self.not_written()
        self.memory_size += self.kept_size
        self.kept_size = 0
        for lane in (self.backlog, self.live):
            lane.keep_no_more()
        self._astray = {number for number in self._lent if not self._in_memory(number)}
        lost = 0
        for lane in (self.backlog, self.live):
            count, size = lane.lose_the_disk(self._lent)
            lost += count
            self.size -= size
        self.count -= lost
        self.gone.clear()
        self.oldest_on_disk = None
        if lost:
            self.on_lost("damaged", [UNKNOWN] * lost)

    def expire(self, before: float) -> None:
        """Drop what is in memory, not lent, and older than the second `before`."""
        old = [e for e in self.unwritten() if e.at < before and self._may_go(e)]
        self._drop(old, "too_old")

    def give_up(self) -> int:
        """Drop all that is not on disk, lent or not; return how many that were."""
        left = list(self.unwritten())
        self.release([*(event.number for event in left), *self._astray])
        self._given_up.update(event.number for event in left)
        self._drop(left, "stopped")
        return len(left)

    def oldest_at(self) -> float | None:
        """Return the second since 1970 of the oldest event, None when none is pending."""
        first = next(self.unwritten(), None)
        times = [first.at] if first else []
        if self.has_on_disk() and self.oldest_on_disk is not None:
            times.append(self.oldest_on_disk)
        return min(times, default=None)

    def _give_way(self, max_memory: int) -> None:
        over = self.memory_size - max_memory
        gone = []
        for event in self.unwritten():
            if over <= 0:
                break
            if self._may_go(event):
                gone.append(event)
                over -= event.size
        self._drop(gone, "full")

    def _may_go(self, event: Event) -> bool:
        return event.number > self._writing and event.number not in self._lent

    def _drop(self, events: Sequence[Event], reason: str) -> None:
        for event in events:
            self._remove(event)
        if events:
            self.on_lost(reason, [event.slip for event in events])

    def _lose_astray(self, slips: Sequence[Slip]) -> None:
        for slip in slips:
            self._astray.discard(slip.number)
            self._uncount(slip)
        self.on_lost("damaged", slips)

    def _remove(self, event: Event) -> None:
        slip = event.slip
        self._lane_of(event.number).remove(slip)
        self._uncount(slip)
        self._forget(event.number)

    def _in_memory(self, number: int) -> Event | None:
        return self._lane_of(number).memory.get(number)

    def _lane_of(self, number: int) -> Lane:
        return self.live if number > self._mark else self.backlog

    def _uncount(self, slip: Slip) -> None:
        self.count -= 1
        self.size -= slip.size

    def _forget(self, number: int) -> Event:
        event = self._lane_of(number).memory.pop(number)
        self.memory_size -= event.size
        return event

    def _put_away(self, number: int) -> None:
        event = self._forget(number)
        if number not in self.gone and self.kept_size + event.size <= self._most_kept:
            self._lane_of(number).kept[number] = event
            self.kept_size += event.size

    def _unkeep(self, number: int) -> None:
        event = self._lane_of(number).kept.pop(number, None)
        self.kept_size -= event.size if event else 0
