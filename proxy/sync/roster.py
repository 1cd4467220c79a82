"""Whom we serve: the board's keys and their flags loops, always changed together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import final

import msgspec

from proxy import tasks
from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment
from proxy.sync.desk import Desk
from proxy.sync.flags import FlagsLoop
from proxy.sync.kept import FLAGS
from proxy.sync.means import Means
from proxy.sync.needs import Cohorts
from proxy.sync.plan import Held


@final
class Roster:
    """The deployments of all projects; one that is added is authorised and synced in one step.

    `cohorts` are those of each project, by its index.
    """

    def __init__(self, means: Means, cohorts: Mapping[int, Cohorts]) -> None:
        self._means = means
        self._cohorts = cohorts
        self._held: dict[Secret, Held] = {}
        self._loops: dict[Secret, FlagsLoop] = {}
        self._tasks: dict[Secret, asyncio.Task[None]] = {}
        self._going: set[Secret] = set()
        self._running = False

    @property
    def held(self) -> Mapping[Secret, Held]:
        """All deployments, by key."""
        return self._held

    def is_going(self, key: Secret) -> bool:
        """Tell whether a deployment is being removed at the moment."""
        return key in self._going

    def loops(self) -> list[FlagsLoop]:
        """Return the flags loops of all deployments."""
        return list(self._loops.values())

    def add(self, deployment: Deployment, *, fixed: bool = False) -> None:
        """Authorise a deployment and keep its flags up to date from now on."""
        key = deployment.key
        self._held[key] = Held(deployment=deployment, fixed=fixed)
        slot = self._means.board.authorise(deployment)
        desk = Desk(slot, self._means, self._cohorts[deployment.project_index])
        self._loops[key] = FlagsLoop(desk, self._means)
        if self._running:
            self._start(key)

    def fix(self, key: Secret, *, fixed: bool) -> None:
        """Make a deployment the operator's, or one that stays only while upstream lists it."""
        self._held[key] = msgspec.structs.replace(self._held[key], fixed=fixed, absences=0)

    def describe(self, deployment: Deployment) -> None:
        """Change a deployment's label or type."""
        key = deployment.key
        self._held[key] = msgspec.structs.replace(self._held[key], deployment=deployment)
        self._means.board.authorise(deployment)
        desk = self._loops[key].desk
        desk.journal.label = deployment.label
        desk.gauges.show()

    def note_absences(self, absences: Mapping[Secret, int]) -> None:
        """Remember how often in a row deployments were left out."""
        for key, count in absences.items():
            self._held[key] = msgspec.structs.replace(self._held[key], absences=count)

    def revoke(self, keys: Iterable[Secret]) -> None:
        """Stop authorising deployments in one step; `remove` has to follow."""
        for key in keys:
            self._means.board.revoke(key.reveal())

    async def remove(self, key: Secret) -> None:
        """Stop authorising a deployment at once, then end its loop and all that it left behind."""
        self.revoke([key])
        loop = self._loops.get(key)
        if loop is None:
            return
        self._going.add(key)
        task = self._tasks.get(key)
        if task is not None:
            await tasks.stop(task)
        if self._loops.get(key) is not loop:
            return
        self._going.discard(key)
        # Only now: until its gauges are gone, nobody else may be shown under its label.
        del self._held[key], self._loops[key]
        self._tasks.pop(key, None)
        self.revoke([key])
        loop.desk.gauges.remove()
        loop.desk.cohorts.need(key, frozenset())
        self._means.store.forget(FLAGS, key.label)

    def start(self) -> None:
        """Start the loops of those who were added before, and of all who will be."""
        self._running = True
        for key in self._loops:
            self._start(key)

    async def stop(self) -> None:
        """End all loops; the board keeps what it holds."""
        self._running = False
        await tasks.stop(*self._tasks.values())
        self._tasks.clear()

    def _start(self, key: Secret) -> None:
        self._tasks[key] = tasks.start(f"flags {key.label}", self._loops[key].run())
