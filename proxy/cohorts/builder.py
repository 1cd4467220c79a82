"""Cohorts are built in a process of their own; this is its owner."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from proxy import tasks
from proxy.cohorts.child import COMMAND, Child
from proxy.cohorts.jobs import Built, Job, Order, Progress
from proxy.errors import BodyBroken, BuilderDied, NoRoom

IDLE_SECONDS = 30.0
# On a slow disk the last step, waiting until it has everything, takes its time.
SILENCE_SECONDS = 300.0
CLOSED = "the builder is closed"


@final
class Builder:
    """Builds one cohort at a time in a process that lives while there is work; owned by one loop.

    The process is started for the first job, ends after `idle_seconds` without one, and counts
    as dead after `silence_seconds` without a word. `command` is what starts it.
    """

    def __init__(
        self,
        *,
        idle_seconds: float = IDLE_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._silence_seconds = silence_seconds
        self._command = command
        self._turn = asyncio.Lock()
        self._child: Child | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        self._closed = False

    async def build(self, job: Job, on_progress: Callable[[Progress], None]) -> Built:
        """Make an index and a packed body; raises BodyBroken, NoRoom or BuilderDied.

        The files are on disk, owner-only, when it returns. When it raises, or is cancelled,
        nothing is left of them. The body stays as it is.
        """
        order = _order(job)
        async with self._turn:
            child = await self._ready()
            try:
                return await child.work(order, on_progress, self._silence_seconds)
            except (BodyBroken, NoRoom):
                raise
            except BaseException:
                self._child = None
                await _clear_away(child, order)
                raise
            finally:
                if not self._closed:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(self._idle_seconds, self._retire)

    async def close(self) -> None:
        """End the process; jobs under way and later ones fail with BuilderDied."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._turn.locked() and self._child is not None:
            await self._child.kill()
        # Turns are taken in order: when ours comes, all the others have failed.
        async with self._turn:
            self._retire()
        await asyncio.gather(*self._farewells)

    async def _ready(self) -> Child:
        if self._closed:
            raise BuilderDied(CLOSED)
        if self._timer is not None:
            self._timer.cancel()
        if self._child is None or not self._child.alive:
            self._retire()
            self._child = await Child.start(self._command)
        if self._closed:
            raise BuilderDied(CLOSED)
        return self._child

    def _retire(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            farewell = tasks.start("end of the building process", child.leave())
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)


def _order(job: Job) -> Order:
    """Name the files, and everything by its whole path: the child's folder is another one."""
    body, folder = (str(Path(path).absolute()) for path in (job.body, job.folder))
    whole = Job(body=body, gzip=job.gzip, folder=folder, cohort_id=job.cohort_id)
    return Order(job=whole, index=secrets.token_hex(16), packed=secrets.token_hex(16))


async def _clear_away(child: Child, order: Order) -> None:
    """End the child and remove what it was making."""

    def remove() -> None:
        for name in (order.index, order.packed):
            with contextlib.suppress(OSError):
                Path(order.job.folder, name).unlink()

    try:
        await child.kill()
    finally:
        # Large files take the system a while.
        await asyncio.to_thread(remove)
