"""A sender on a spool, for tests in virtual time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy import tasks
from proxy.events.bounds import Bounds
from proxy.events.destinations import Destination, Pace, Way
from proxy.events.event import Event
from proxy.events.sender import Sender
from proxy.events.tally import Tally
from proxy.metrics import Metrics
from proxy.upstream.analytics import Limits
from tests.events.builders import Upstream, clock, event, spool_in

LIMITS = Limits(events=2000, size=1_000_000)
HOUR = 3600.0


class Rig:
    """A sender on a spool, what it lost, and its counts."""

    def __init__(
        self,
        upstream: Upstream,
        chance: Callable[[], float],
        folder: Path | None = None,
        **changes: Any,
    ) -> None:
        bounds = {name: changes.pop(name) for name in Bounds.__struct_fields__ if name in changes}
        pace = {name: changes.pop(name) for name in Pace.__struct_fields__ if name in changes}
        disk = {name: changes.pop(name) for name in ("executor", "patience") if name in changes}
        self.metrics = Metrics()
        self.lost: list[int] = []
        self.upstream = upstream
        self.tally = Tally("p", self.metrics)
        self.spool = spool_in(folder, self.metrics, **disk, **bounds)
        self.sender = Sender(
            Destination(
                "p", "origin", Way(**{"limits": LIMITS, "pace": Pace(**pace), **changes}), upstream
            ),
            self.spool,
            self.tally,
            on_lost=lambda _kind, key: self.lost.append(key),
            clock=clock,
            chance=chance,
        )
        self.made = 0

    def offer(self, count: int, size: int = 40, **members: Any) -> None:
        for _ in range(count):
            body = event(self.made, size)
            self.sender.offer(Event(0, body, clock(), **{"key": self.made, **members}))
            self.made += 1

    async def flush(self, deadline: float) -> int:
        await self.sender.flush(deadline)
        await self.spool.commit(at_once=True)
        return self.sender.give_up()

    @property
    def dropped(self) -> dict[str, int]:
        dropped: dict[str, int] = self.tally.counts()["dropped"]
        return dropped


def rig(
    *script: Any, seconds: float = 0.0, chance: Callable[[], float] = lambda: 1.0, **changes: Any
) -> Rig:
    return Rig(Upstream(*script, seconds=seconds), chance, **changes)


@asynccontextmanager
async def running(one: Rig) -> AsyncIterator[None]:
    await one.spool.open()
    loops = [
        tasks.start("sender", one.sender.run()),
        tasks.start("backlog", one.sender.run_backlog()),
        tasks.start("spool", one.spool.run()),
    ]
    try:
        yield
    finally:
        await tasks.stop(*loops)
