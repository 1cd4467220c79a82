"""The door to events: one call per answer, which costs the request a hash and an append."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from proxy import logs, tasks
from proxy.evaluation.outcomes import Outcome
from proxy.events.assignment import Subject, assignment_event, group_names, id_text, told
from proxy.events.canonical import LONGEST_TEXT, identity_prefix, key_of
from proxy.events.dedupe import Dedupe
from proxy.events.destinations import Destination
from proxy.events.event import Event
from proxy.events.sender import Sender
from proxy.events.spool import Spool
from proxy.events.tally import Tally
from proxy.metrics import Metrics
from proxy.settings.reporting import Assignment

MOST_FRESH: Final = 8192
SLICE: Final = 64
GATHER_SECONDS: Final = 0.02
MEASURE_SECONDS: Final = 1.0

log = logs.get("events")

by_flag_key = attrgetter("flag_key")


class Fresh(NamedTuple):
    """An assignment that is not encoded yet; outcomes in the order of their flag keys."""

    project: _Project
    subject: Subject
    outcomes: list[Outcome]
    at: float
    key: int


class _Project(NamedTuple):
    """What belongs to one project."""

    label: str
    prefix: str
    tally: Tally
    sender: Sender


class Tracker:
    """Tells Amplitude of assignments: each once a day, none lost that a bound did not drop."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        assignment: Assignment,
        metrics: Metrics,
        spool: Spool,
        *,
        clock: tasks.Clock = tasks.wall_clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._assignment = assignment
        self._metrics = metrics
        self._spool = spool
        self._seed = secrets.randbits(32)
        self._dedupe = Dedupe(assignment.filter_capacity)
        self._fresh: deque[Fresh] = deque()
        self._news = asyncio.Event()
        self._measured_at = float("-inf")
        self._projects = []
        for index, destination in enumerate(destinations):
            tally = Tally(destination.label, metrics)
            sender = Sender(
                destination, spool, tally, on_lost=self._forget, clock=clock, chance=chance
            )
            self._projects.append(
                _Project(destination.label, f"assignment {index} ", tally, sender)
            )

    def track(
        self, project_index: int, user: Mapping[str, Any], outcomes: Sequence[Outcome], at: float
    ) -> None:
        """Take note of an answer given at the second `at`; never waits, never raises."""
        if not self._assignment.enabled:
            return
        try:
            self._track(self._projects[project_index], user, outcomes, at)
        except Exception as error:  # noqa: BLE001  the answer goes out whatever happens here
            if 0 <= project_index < len(self._projects):
                _lose_to(error, self._projects[project_index])

    async def run(self) -> None:
        """Encode and send until cancelled."""
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("events encoder", self._encode_for_ever),
            ("events spool", self._spool.run),
            *((f"events {project.label}", project.sender.run) for project in self._projects),
            *((f"backlog {one.label}", one.sender.run_backlog) for one in self._projects),
        ]
        running = [
            tasks.start(name, tasks.keep_alive(body, partial(self._on_death, name)))
            for name, body in loops
        ]
        try:
            await asyncio.gather(*running)
        finally:
            await tasks.stop(*running)

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

        What is on disk is not: the next process sends it.
        """
        deadline = asyncio.get_running_loop().time() + deadline_seconds
        self._encode_all()
        await self._spool.commit(at_once=True)
        await asyncio.gather(*(self._flush(project, deadline) for project in self._projects))
        await self._spool.commit(at_once=True)
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

    async def _flush(self, project: _Project, deadline: float) -> None:
        try:
            await project.sender.flush(deadline)
        except Exception:
            log.exception("flush died", project=project.label)

    def measure(self) -> None:
        """Bring the metrics up to date; the loop does it each second, a scrape may do it too."""
        self._spool.measure()
        fresh: dict[str, int] = {}
        for waiting in self._fresh:
            fresh[waiting.project.label] = fresh.get(waiting.project.label, 0) + 1
        for label, _, tally, sender in self._projects:
            tally.measure()
            pending = len(sender) + fresh.get(label, 0)
            self._metrics.events_pending.labels(label).set(pending)
            self._metrics.events_pending_bytes.labels(label).set(sender.size)
            self._metrics.events_oldest_age.labels(label).set(sender.oldest_age())

    def status(self) -> list[dict[str, Any]]:
        """Return for each project what waits, what was answered last, and all counts."""
        return [
            {"project": project.label, **project.sender.status(), "counts": project.tally.counts()}
            for project in self._projects
        ]

    def spool_status(self) -> dict[str, Any]:
        """Return where events wait, and how that fares."""
        return self._spool.status()

    def _track(
        self, project: _Project, user: Mapping[str, Any], outcomes: Sequence[Outcome], at: float
    ) -> None:
        project.tally.offered += 1
        user_id, device_id = user.get("user_id"), user.get("device_id")
        if type(user_id) is not str:
            user_id = id_text(user_id)
        if type(device_id) is not str:
            device_id = id_text(device_id)
        if not outcomes or not (user_id or device_id):
            project.tally.skipped += 1
            return
        ordered = sorted(outcomes, key=by_flag_key)
        canonical = "".join([outcome.canonical for outcome in ordered])
        text = f"{project.prefix}{identity_prefix(user_id, device_id)}{canonical}"
        key = key_of(text, self._seed)
        if not self._dedupe.first(key, at):
            project.tally.filtered += 1
            return
        if len(user_id or "") > LONGEST_TEXT or len(device_id or "") > LONGEST_TEXT:
            project.tally.drop("long_id", 1)
            return
        groups = user.get("groups")
        subject = Subject(user_id, device_id, group_names(groups) if groups else {})
        if not self._fresh:
            self._news.set()
        elif len(self._fresh) >= MOST_FRESH:
            self._encode_next()
        self._fresh.append(Fresh(project, subject, ordered, at, key))

    async def _encode_for_ever(self) -> None:
        while True:
            if not self._fresh:
                await tasks.wait_for_event(self._news, MEASURE_SECONDS)
            self._news.clear()
            if self._fresh:
                # Let some gather: the sender is then woken once for all of them.
                await asyncio.sleep(GATHER_SECONDS)
                await self._encode_fresh()
            now = asyncio.get_running_loop().time()
            if now - self._measured_at >= MEASURE_SECONDS:
                self._measured_at = now
                self.measure()
                for project in self._projects:
                    project.tally.report_drops(now)

    async def _encode_fresh(self) -> None:
        # Only those that are here by now: under load there are always more.
        slices = -(-len(self._fresh) // SLICE)
        for _ in range(slices):
            for _ in range(min(len(self._fresh), SLICE)):
                self._encode_next()
            await asyncio.sleep(0)

    def _encode_all(self) -> None:
        while self._fresh:
            self._encode_next()

    def _encode_next(self) -> None:
        fresh = self._fresh.popleft()
        try:
            body = assignment_event(
                fresh.subject,
                [told(outcome) for outcome in fresh.outcomes],
                round(fresh.at * 1000),
                user_properties=self._assignment.user_properties,
            )
            fresh.project.sender.offer(Event(0, body, fresh.at, fresh.key))
        except Exception as error:  # noqa: BLE001  one event's defect is not another's
            _lose_to(error, fresh.project)

    def _forget(self, _kind: str, key: int) -> None:
        self._dedupe.forget(key)

    def _on_death(self, name: str, error: BaseException | None, pause: float) -> None:
        self._metrics.loop_deaths.labels(name).inc()
        log.error("loop died", loop=name, error=repr(error), restart_in_seconds=pause)


def _lose_to(error: Exception, project: _Project) -> None:
    if not project.tally.counts()["dropped"].get("error"):
        log.error("an event cannot be made; more are only counted", exc_info=error)
    project.tally.drop("error", 1)
