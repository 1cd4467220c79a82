"""What waits in one of a project's two lanes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Iterator
from itertools import chain, islice

from proxy.events.event import Event, Slip


class Lane:
    """What waits in one lane; `memory` also holds what is lent and not on disk.

    What is on disk and in memory still is `kept`: its numbers are below those of `memory`, because
    the oldest is written first. `kinds` is exact in the live lane only: what an earlier process
    left is not looked at.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.kinds: Counter[str] = Counter()
        self.memory: OrderedDict[int, Event] = OrderedDict()
        self.kept: OrderedDict[int, Event] = OrderedDict()

    def add(self, slip: Slip) -> None:
        """Count one more that waits."""
        self.count += 1
        self.size += slip.size
        self.kinds[slip.kind] += 1

    def remove(self, slip: Slip) -> None:
        """Count one less."""
        self.count -= 1
        self.size -= slip.size
        self.kinds[slip.kind] -= 1

    def take_over(self, other: Lane) -> None:
        """Let all that waits in another lane, and came later, wait in this one."""
        self.count += other.count
        self.size += other.size
        self.memory.update(other.memory)
        self.kept.update(other.kept)
        # In place: whoever waits for the disk meanwhile has this lane in hand.
        other.count = other.size = 0
        other.kinds.clear()
        other.memory.clear()
        other.kept.clear()

    def bodies(self, last: int, lent: Container[int], most: int, *, kept: bool) -> Iterator[Event]:
        """Go through the first of what is in memory and not lent, up to the number `last`."""
        here = chain(self.kept.values(), self.memory.values()) if kept else self.memory.values()
        return islice((e for e in here if e.number <= last and e.number not in lent), most)

    def lacks_bodies(self, lent: Iterable[int]) -> bool:
        """Tell whether anything that waits is on disk alone."""
        lent_here = sum(number in self.memory or number in self.kept for number in lent)
        return self.count > len(self.memory) + len(self.kept) - lent_here

    def keep_no_more(self) -> None:
        """Let all that is kept be in memory only, as it was before it was written."""
        self.kept.update(self.memory)
        self.memory, self.kept = self.kept, OrderedDict()

    def lose_the_disk(self, lent: Container[int]) -> tuple[int, int]:
        """Let only what is in memory wait; return how many do not any more, and their bytes."""
        left = [event for event in self.memory.values() if event.number not in lent]
        size = sum(event.size for event in left)
        lost = self.count - len(left), self.size - size
        self.count, self.size = len(left), size
        self.kinds = Counter(event.kind for event in left)
        return lost
