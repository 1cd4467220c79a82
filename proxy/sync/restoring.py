"""The warm start: what an earlier life knew is in force before upstream is asked anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import final

from proxy import logs
from proxy.errors import ProxyError
from proxy.store.store import Store
from proxy.sync.content import is_empty
from proxy.sync.deployments import DeploymentsLoop
from proxy.sync.desk import Desk
from proxy.sync.flags import kind_of
from proxy.sync.kept import kept_flags
from proxy.sync.needs import ProjectCohorts
from proxy.sync.roster import Roster

COMPILED_AT_ONCE = 2
"""So many threads leave the event loop its turns."""

log = logs.get("sync")


@final
class WarmStart:
    """Restores deployments, cohorts and flags; what cannot be restored stops nothing else.

    Flags that target no cohort are in force without waiting for any.
    """

    def __init__(
        self,
        store: Store,
        lists: Sequence[DeploymentsLoop],
        cohorts: Sequence[ProjectCohorts],
        roster: Roster,
    ) -> None:
        self._store = store
        self._lists = lists
        self._cohorts = cohorts
        self._roster = roster
        self._seats = asyncio.Semaphore(COMPILED_AT_ONCE)
        self._are_back = [asyncio.Event() for _ in cohorts]

    async def run(self) -> None:
        """Return when everything that was kept is in force, or cannot be."""
        for one in self._lists:
            await _guarded("deployments", one.owner.label, one.restore)
        async with asyncio.TaskGroup() as group:
            for cohorts, are_back in zip(self._cohorts, self._are_back, strict=True):
                work = self._restore_cohorts(cohorts, are_back)
                group.create_task(work, name=f"restore cohorts {cohorts.label}")
            for loop in self._roster.loops():
                label = loop.desk.journal.label
                flags = _guarded("flags", label, partial(self._restore_flags, loop.desk))
                group.create_task(flags, name=f"restore flags {label}")

    async def _restore_cohorts(self, cohorts: ProjectCohorts, are_back: asyncio.Event) -> None:
        await _guarded("cohorts", cohorts.label, cohorts.restore)
        are_back.set()

    async def _restore_flags(self, desk: Desk) -> None:
        async with self._seats:
            kept = await kept_flags(self._store, desk.key)
            if kept is None:
                return
            compiled = await desk.intake.compile(kept.body)
        if not compiled.flags and not is_empty(kept.body):
            log.error("none of the kept flags can be used", deployment=desk.journal.label)
            return
        if compiled.targets:
            await self._are_back[desk.slot.deployment.project_index].wait()
        desk.intake.restore(kept, compiled)


async def _guarded(what: str, label: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except ProxyError as error:
        log.error("cannot be restored", what=what, of=label, why=str(error))  # noqa: TRY400  told
    except Exception as error:  # a warm start that fails is a cold one, not none
        log.exception("cannot be restored", what=what, of=label, why=kind_of(error))
