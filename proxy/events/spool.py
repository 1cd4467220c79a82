"""Where events are until upstream has answered for them: on disk, or in memory while there is none.

What is offered is in memory at first. A commit, one for all that came within a moment, writes it
to disk and deletes what was settled. While the disk cannot be used, events stay in memory within
its bound, are sent from there, and are written as soon as the disk can be used again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from proxy import logs, tasks
from proxy.events.ages import LOOK_SECONDS, Ages
from proxy.events.bounds import Bounds
from proxy.events.disk import Disk
from proxy.events.event import Event, Slip
from proxy.events.lane import Lane
from proxy.events.queue import Lost, Queue
from proxy.events.spool_file import Change, Committed
from proxy.events.strangers import Strangers
from proxy.metrics import Metrics
from proxy.upstream.analytics import Limits

CHUNK_EVENTS: Final = 2000
CHUNK_BYTES: Final = 8 * 1_048_576
CLOSE_SECONDS: Final = 1.0
"""A stop waits so long for the disk to close the file."""

log = logs.get("events")


class Spool:
    """The events of all projects. Open it, run it, flush the senders, close it."""

    def __init__(
        self, disk: Disk, bounds: Bounds, metrics: Metrics, *, clock: tasks.Clock = tasks.wall_clock
    ) -> None:
        self.bounds = bounds
        self._disk = disk
        self._metrics = metrics
        self._ages = Ages(clock, bounds.max_age_seconds)
        self._strangers = Strangers(metrics)
        self._queues: dict[str, Queue] = {}
        self._numbers = 0
        self._news = asyncio.Event()
        self._desk = asyncio.Lock()  # who holds it works with the disk, from start to end
        self._committing: set[asyncio.Task[None]] = set()
        self._awaited: list[asyncio.Future[bool]] = []
        disk.on_damage = self._lose_the_disk
        disk.on_late = self._note_late

    async def open(self) -> None:
        """Open the disk, take note of what an earlier process left, drop what is too old of it."""
        if not self.has_folder():
            log.warning("events are kept in memory only", why=self._disk.why)
        await self.commit()

    def queue(self, label: str, on_lost: Lost | None = None) -> Queue:
        """Return the queue of the project that is kept under `label`; `on_lost` hears of losses."""
        queue = self._queues.get(label)
        if queue is None:
            # Until somebody sends them: events of a project that is not configured any more.
            lose = partial(self._strangers.lose, label)
            queue = self._queues[label] = Queue(label, lose, self.bounds.max_kept)
        if on_lost is not None:
            queue.on_lost = on_lost
            self._strangers.adopt(label)
        return queue

    def offer(self, queue: Queue, draft: Event) -> None:
        """Take over an event; its number is given here."""
        self._numbers += 1
        event = msgspec.structs.replace(draft, number=self._numbers)
        queue.offer(event, self.bounds.max_memory)
        self._tell()

    @property
    def last_number(self) -> int:
        """The number of the event that was offered last."""
        return self._numbers

    def has_room(self, queue: Queue, size: int) -> bool:
        """Tell whether `size` more bytes of a project push nothing else out."""
        if self.is_on_disk():
            pending = sum(one.size for one in self._queues.values())
            return max(pending, self._disk.used) + size <= self.bounds.max_bytes
        return queue.memory_size + size <= self.bounds.max_memory

    def has_folder(self) -> bool:
        """Tell whether there is a directory that events should be written to."""
        return self._disk.folder is not None

    def is_on_disk(self) -> bool:
        """Tell whether events are written to disk at the moment."""
        return self._disk.why is None

    def committed(self) -> Awaitable[bool] | None:
        """Return what ends when all that was offered so far is on disk: False if it cannot be.

        None when there is nothing to wait for; always so when no directory is configured.
        """
        if not self.has_folder() or not any(one.in_memory() for one in self._queues.values()):
            return None
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._awaited.append(done)
        self._tell()
        return done

    async def take(
        self, queue: Queue, lane: Lane, limits: Limits, last: int | None = None
    ) -> Sequence[Event]:
        """Lend the next batch of a lane, nothing with a number beyond `last`."""
        async with self._desk:
            first, final = queue.span(lane)
            final = final if last is None else min(final, last)
            found: list[Event] = []
            is_full = False
            if queue.must_read(lane):
                span, withheld = (first, final), queue.withheld()
                found, is_full = await self._disk.read(queue.label, span, withheld, limits)
            batch = found if is_full else queue.batch(lane, final, limits, found)
            queue.lend(batch)
            return batch

    def settle(self, queue: Queue, events: Iterable[Event]) -> None:
        """End the way of lent events: the next commit deletes them."""
        queue.settle(event.number for event in events)
        self._tell()

    async def run(self) -> None:
        """Commit whenever there is something to commit; never returns."""
        while True:
            await tasks.wait_for_event(self._news, min(LOOK_SECONDS, self._disk.retry_in()))
            self._news.clear()
            if self.bounds.commit_seconds:
                await asyncio.sleep(self.bounds.commit_seconds)
            await self.commit()

    async def commit(self, *, at_once: bool = False, within: float | None = None) -> None:
        """Bring the disk up to date, if it can be used; `at_once` even if it failed just now.

        Nobody waits for more than `within` seconds.
        """
        if at_once:
            self._disk.rest_no_longer()
        # What is begun is ended, even if whoever waits for it is cancelled.
        work = tasks.start("spool commit", self._commit())
        self._committing.add(work)
        work.add_done_callback(self._committing.discard)
        await asyncio.wait([work], timeout=within)
        if work.done():
            work.result()

    def end_by(self, at: float) -> None:
        """Let nobody wait for the disk beyond a second of the loop's clock."""
        self._disk.end_by(at)

    async def close(self) -> None:
        """Commit, and close the file; what is on disk stays there for the next process.

        A disk that does not manage that in a moment is left alone.
        """
        self.end_by(asyncio.get_running_loop().time() + CLOSE_SECONDS)
        await self.commit(at_once=True, within=CLOSE_SECONDS)
        # Whoever has the desk still waits for a disk that hangs.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._desk.acquire(), CLOSE_SECONDS / 2)
        await self._disk.close()
        self._strangers.measure(self._queues, float("inf"))

    def measure(self) -> None:
        """Bring the metrics up to date."""
        self._strangers.measure(self._queues, asyncio.get_running_loop().time())
        self._metrics.spool_on_disk.set(self.is_on_disk())
        self._metrics.spool_bytes.set(self._disk.used)

    def status(self) -> dict[str, Any]:
        """Return where events are kept and why, how full that is, and what each project has."""
        return {
            "place": "disk" if self.is_on_disk() else "memory",
            "why": self._disk.why,
            "used_bytes": self._disk.used,
            "max_bytes": self.bounds.max_bytes,
            "unwritten": sum(queue.in_memory() for queue in self._queues.values()),
            "last_commit_seconds": round(self._disk.seconds, 4),
            "pending": {queue.label: queue.count for queue in self._queues.values()},
        }

    async def _commit(self) -> None:
        # Of one moment: whoever waits from now on waits for a later number.
        last = self._numbers
        awaited, self._awaited = self._awaited, []
        is_safe = False
        try:
            while await self._commit_some(last):
                pass
            is_safe = all(
                next((one.number for one in queue.unwritten()), last + 1) > last
                for queue in self._queues.values()
            )
        finally:
            for done in awaited:
                if not done.done():
                    done.set_result(is_safe)

    async def _commit_some(self, last: int) -> bool:
        """Commit one chunk of what has numbers up to `last`; return whether there may be more."""
        async with self._desk:
            for label, count, size, oldest in await self._disk.open():
                self.queue(label).found(count, size, oldest)
            before = self._ages.before()
            if before is not None:
                for queue in self._queues.values():
                    queue.expire(before)
            if not self._disk.is_open() or self._disk.rests():
                return False
            change = self._change(last, before)
            is_probe = not self.is_on_disk()
            if not (change.added or change.removed or before is not None or is_probe):
                return False
            done = await self._disk.commit(change)
            self._note(change, done)
            return done is not None and bool(change.added)

    def _change(self, last: int, before: float | None) -> Change:
        queues = self._queues.values()
        change = Change(
            added=list(self._chunk(last)),
            removed=[number for queue in queues for number in queue.gone],
            spared=[number for queue in queues for number in queue.lent()],
            labels=list(self._queues),
            max_bytes=self.bounds.max_bytes,
            before=before,
        )
        for label, event in change.added:
            self._queues[label].begin_write(event.number)
        return change

    def _chunk(self, last: int) -> Iterator[tuple[str, Event]]:
        count = size = 0
        for queue in self._queues.values():
            for event in queue.unwritten():
                if event.number > last:
                    break
                if count >= CHUNK_EVENTS or size >= CHUNK_BYTES:
                    return
                count += 1
                size += event.size
                yield queue.label, event

    def _note(self, change: Change, done: Committed | None) -> None:
        if done is None:
            for queue in self._queues.values():
                queue.not_written()
            return
        added = defaultdict(list)
        for label, event in change.added:
            added[label].append(event.number)
        for label, queue in self._queues.items():
            queue.written(added[label], change.removed)
            queue.oldest_on_disk = done.oldest.get(label)
        self._note_lost(done.lost)

    def _note_late(self, change: Change, done: Committed) -> None:
        """Take note of a change that was done when nobody waited for it any more."""
        new = {event.number for _, event in change.added}
        dropped = {slip.number for _, _, slip in done.lost}
        added = defaultdict(list)
        for label, event in change.added:
            if event.number not in dropped:
                added[label].append(event.number)
        for label, queue in self._queues.items():
            queue.written(added[label], change.removed)
            queue.oldest_on_disk = done.oldest.get(label)
        # What is in memory still is not lost.
        self._note_lost(one for one in done.lost if one[2].number not in new)
        self._tell()

    def _note_lost(self, found: Iterable[tuple[str, str, Slip]]) -> None:
        lost: dict[tuple[str, str], list[Slip]] = defaultdict(list)
        for reason, label, slip in found:
            lost[reason, label].append(slip)
        for (reason, label), slips in lost.items():
            self._queues[label].lost_on_disk(reason, slips)

    def _tell(self) -> None:
        if self.has_folder():
            self._news.set()

    def _lose_the_disk(self) -> None:
        for queue in self._queues.values():
            queue.lost_the_disk()
        self._tell()
