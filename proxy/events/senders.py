"""Whose senders run: those of projects that are served, and of others until nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import final

from proxy import tasks
from proxy.events.sieve import Project

Start = Callable[[str, Callable[[], Awaitable[None]]], asyncio.Task[None]]
"""Starts a loop under a name, guarded."""


@final
class Senders:
    """The loops of each project's sender; `projects` may become more, and never fewer."""

    def __init__(self, projects: Sequence[Project], start: Start) -> None:
        self._projects = projects
        self._start = start
        self._served: frozenset[int] = frozenset()
        self._running: dict[int, list[asyncio.Task[None]]] | None = None

    def serve(self, places: Iterable[int]) -> None:
        """Take the projects at these places for those that are served from now on."""
        self._served = frozenset(places)
        self._start_missing()

    def is_served(self, project: Project) -> bool:
        """Tell whether events of a project are taken."""
        return project.place in self._served

    def shown(self) -> list[Project]:
        """Return those that are served, and those that have something left."""
        return [one for one in self._projects if self.is_served(one) or one.sender]

    def begin(self) -> None:
        """Let the loops run."""
        self._running = {}
        self._start_missing()

    def look(self) -> None:
        """End what has nothing left to do; what came late for one makes it go on."""
        self._start_missing()
        running = self._running or {}
        for place in running.keys() - self._served:
            if not self._projects[place].sender:
                for task in running.pop(place):
                    task.cancel()

    async def stop(self) -> None:
        """End all loops."""
        running, self._running = self._running or {}, None
        await tasks.stop(*chain.from_iterable(running.values()))

    def _start_missing(self) -> None:
        if self._running is None:
            return
        for project in self.shown():
            if project.place not in self._running:
                self._running[project.place] = [
                    self._start(f"events {project.label}", project.sender.run),
                    self._start(f"backlog {project.label}", project.sender.run_backlog),
                ]
