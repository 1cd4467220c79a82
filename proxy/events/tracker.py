"""The door to events: one call per answer, which costs the request an append."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from proxy import logs, tasks
from proxy.evaluation.outcomes import Outcome
from proxy.events.destinations import Destination
from proxy.events.encoder import Encoder
from proxy.events.event import ASSIGNMENT, EXPOSURE, INGEST, RECORD_BYTES, Event
from proxy.events.retelling import Retelling, retelling
from proxy.events.sender import Sender
from proxy.events.senders import Senders
from proxy.events.sieve import Memo, Project, Sieve
from proxy.events.spool import Spool
from proxy.events.tally import Tally
from proxy.metrics import Metrics
from proxy.settings.reporting import Assignment, Exposure

GATHER_SECONDS: Final = 0.02
MEASURE_SECONDS: Final = 1.0
LEAST_COMMIT_SECONDS: Final = 2.0
"""A stop in a hurry still waits so long for the disk."""

log = logs.get("events")


class Tracker:
    """Tells Amplitude of assignments and exposures, each once a day, and passes uploads on.

    Nothing is lost that a bound did not drop. Unless it `sends`, everything waits for a process
    that does.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        assignment: Assignment,
        exposure: Exposure,
        metrics: Metrics,
        spool: Spool,
        *,
        clock: tasks.Clock = tasks.wall_clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sends = True
        self._enabled = assignment.enabled
        self._metrics = metrics
        self._spool = spool
        self._encoder = Encoder(user_properties=assignment.user_properties)
        self._measured_at = float("-inf")
        self._clock, self._chance = clock, chance
        self._projects: list[Project] = []
        self._senders = Senders(self._projects, self._start)
        capacities = {ASSIGNMENT: assignment.filter_capacity, EXPOSURE: exposure.filter_capacity}
        self._sieve = Sieve(self._projects, capacities, self._encoder.add)
        self.most_event_bytes = self._most_taken - RECORD_BYTES
        self.serve(dict(enumerate(destinations)))

    def serve(self, destinations: Mapping[int, Destination]) -> None:
        """Take events of these projects from now on, each at its index; new ones come at the end.

        What those left that are not among them is sent still.
        """
        for place in sorted(destinations.keys() - set(range(len(self._projects)))):
            destination = destinations[place]
            tally = Tally(destination.label, self._metrics)
            sender = Sender(
                destination,
                self._spool,
                tally,
                on_lost=self._sieve.forget,
                clock=self._clock,
                chance=self._chance,
            )
            assert place == len(self._projects), "indices are given one after the other"
            self._projects.append(
                Project(destination.label, destination.origin, place, tally, sender)
            )
        sizes = (destination.way.limits.size for destination in destinations.values())
        self.most_event_bytes = min([*sizes, self._most_taken - RECORD_BYTES])
        self._senders.serve(destinations)

    def track(
        self, project_index: int, user: Mapping[str, Any], outcomes: Sequence[Outcome], at: float
    ) -> None:
        """Take note of an answer given at the second `at`; never waits, never raises."""
        if self._enabled:
            self._sieve.offer(ASSIGNMENT, project_index, user, outcomes, at)

    def expose(
        self,
        project_index: int,
        user: Mapping[str, Any],
        outcomes: Sequence[Outcome],
        asked: Collection[str],
        at: float,
    ) -> None:
        """Take note of an exposure to an answer; `asked` are the flags asked for, empty for all.

        Never waits, never raises.
        """
        self._sieve.offer(EXPOSURE, project_index, user, outcomes, at, asked=asked)

    def retelling(
        self,
        project_index: int,
        user: Mapping[str, Any],
        outcomes: Sequence[Outcome],
        asked: Collection[str],
    ) -> Retelling:
        """Return what tracks and exposes an answer each time that it is given again."""
        assigned = Memo() if self._enabled else None
        return retelling(self._sieve, project_index, user, outcomes, asked, assigned=assigned)

    def has_room(self, project_index: int, count: int, size: int) -> bool:
        """Tell whether so many more events with so many bytes push nothing else out.

        Of the memory, half is kept for what evaluations tell.
        """
        queue = self._spool.queue(self._projects[project_index].origin)
        size += count * RECORD_BYTES
        return queue.memory_size + size <= self._most_taken and self._spool.has_room(queue, size)

    def fits(self, count: int, size: int) -> bool:
        """Tell whether there can ever be room for so many events with so many bytes."""
        return size + count * RECORD_BYTES <= self._most_taken

    def take(self, project_index: int, bodies: Sequence[bytes], options: bytes, at: float) -> range:
        """Take over encoded events that somebody else made, to be sent with these options.

        Return their numbers.
        """
        project = self._projects[project_index]
        before = self._spool.last_number
        for body in bodies:
            project.sender.offer(Event(0, body, at, 0, INGEST, options))
        return range(before + 1, self._spool.last_number + 1)

    def withdraw(self, project_index: int, numbers: Iterable[int]) -> None:
        """Give events back that were taken over, unless they are on disk or on their way."""
        self._projects[project_index].sender.withdraw(numbers)

    def lacks_its_disk(self) -> bool:
        """Tell whether events should be on disk before an answer, and cannot be at the moment."""
        is_strict = not self._spool.bounds.commit_seconds
        return is_strict and self._spool.has_folder() and not self._spool.is_on_disk()

    def committed(self) -> Awaitable[bool] | None:
        """Return what ends when all that was taken so far is on disk, or cannot be: False.

        None when nothing is to be written.
        """
        return self._spool.committed()

    async def run(self) -> None:
        """Encode and send until cancelled."""
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("events encoder", self._encode_for_ever),
            ("events spool", self._spool.run),
        ]
        running = [self._start(name, body) for name, body in loops]
        if self.sends:
            self._senders.begin()
        try:
            await asyncio.gather(*running)
        finally:
            await tasks.stop(*running)
            await self._senders.stop()

    def durable(self) -> Awaitable[bool] | None:
        """Return what ends when all that was tracked so far is on disk, or cannot be: False.

        None when the answer need not wait: commits wait for company, or nothing is to be written.
        """
        if self._spool.bounds.commit_seconds:
            return None
        self._encode_all()
        return self._spool.committed()

    async def flush(self, deadline_seconds: float) -> int:
        """Send what is pending for at most so long; return how many events are lost.

        What is on disk is not: the next process sends it. Even in a hurry a disk gets a moment.
        """
        deadline = _now() + deadline_seconds
        end = deadline + max(LEAST_COMMIT_SECONDS - deadline_seconds, 0.0)
        # The last word is the disk's: what is on it, and what is not.
        rest = min(LEAST_COMMIT_SECONDS, deadline_seconds / 4) if self._spool.has_folder() else 0.0
        self._spool.end_by(end)
        self._encode_all()
        await self._spool.commit(at_once=True, within=end - _now())
        sending = self._projects if self.sends else []
        await asyncio.gather(*(self._flush(project, deadline - rest) for project in sending))
        await self._spool.commit(at_once=True, within=max(end - _now(), 0.0))
        lost = sum(project.sender.give_up() for project in self._projects)
        kept = sum(len(project.sender) for project in self._projects)
        self.measure()
        for project in self._projects:
            project.tally.report_drops(float("inf"))
        if lost:
            log.error("stopped before all events were sent", lost=lost, kept_on_disk=kept)
        elif kept:
            log.info("events wait on disk for the next start", kept_on_disk=kept)
        return lost

    async def _flush(self, project: Project, deadline: float) -> None:
        try:
            await project.sender.flush(deadline)
        except Exception:
            log.exception("flush died", project=project.label)

    def measure(self) -> None:
        """Bring the metrics up to date; the loop does it each second, a scrape may do it too."""
        self._spool.measure()
        self._sieve.sift()
        senders: dict[str, list[Sender]] = {}
        for label, _, _, tally, sender in self._projects:
            tally.measure()
            # With another API key a project is another one, under the same name.
            senders.setdefault(label, []).append(sender)
        for label, same in senders.items():
            self._metrics.events_pending.labels(label).set(sum(map(len, same)))
            self._metrics.events_pending_bytes.labels(label).set(sum(one.size for one in same))
            self._metrics.events_oldest_age.labels(label).set(max(o.oldest_age() for o in same))

    def status(self) -> list[dict[str, Any]]:
        """Return for each project what waits, what was answered last, and all counts."""
        self._sieve.sift()
        fresh = self._encoder.waiting()
        return [
            {
                "project": project.label,
                "configured": self._senders.is_served(project),
                "fresh": fresh[project.label],
                **project.sender.status(),
                "counts": project.tally.counts(),
            }
            for project in self._senders.shown()
        ]

    def spool_status(self) -> dict[str, Any]:
        """Return where events wait, and how that fares."""
        return self._spool.status()

    @property
    def _most_taken(self) -> int:
        return self._spool.bounds.max_memory // 2

    def _encode_all(self) -> None:
        self._sieve.sift()
        self._encoder.encode_all()

    async def _encode_for_ever(self) -> None:
        while True:
            if await tasks.wait_for_event(self._sieve.news, MEASURE_SECONDS):
                self._sieve.news.clear()
                # Let some gather: the sender is then woken once for all of them.
                await asyncio.sleep(GATHER_SECONDS)
            self._sieve.sift()
            await self._encoder.encode_some()
            now = _now()
            if now - self._measured_at >= MEASURE_SECONDS:
                self._measured_at = now
                self.measure()
                self._senders.look()
                for project in self._projects:
                    project.tally.report_drops(now)

    def _start(self, name: str, body: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return tasks.start(name, tasks.keep_alive(body, partial(self._on_death, name)))

    def _on_death(self, name: str, error: BaseException | None, pause: float) -> None:
        self._metrics.loop_deaths.labels(name).inc()
        log.error("loop died", loop=name, error=repr(error), restart_in_seconds=pause)


def _now() -> float:
    return asyncio.get_running_loop().time()
