"""A cohorts loop around the fake upstream, the real builder and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from proxy import tasks
from proxy.cohorts.builder import Builder
from proxy.cohorts.shelf import Shelf
from proxy.evaluation.cohorts import Target
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.zones import Urls
from proxy.store.store import Store
from proxy.store.timing import Pace
from proxy.sync.cohort_verdicts import CohortTimings
from proxy.sync.cohort_workshop import Workshop
from proxy.sync.cohorts import CohortsLoop
from proxy.sync.turns import Turns
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from proxy.upstream.cohorts import PATH, Credentials
from tests.fakes.upstream import FakeUpstream, Step, gzip_answer
from tests.sync.rig import wait_until

__all__ = ["FIRST", "SECOND", "CohortRig", "body", "cohort", "rigged", "targets", "wait_until"]

KEYS = Credentials(Secret("the-api-key"), Secret("the-secret-key"))
FIRST, SECOND = Secret("server-first"), Secret("server-second")
QUICK = CohortTimings(
    period=0.02, wait=300, grace=600, first_retry=0.01, longest_retry=0.02, longest_preparing=0.02
)


def body(
    members: Iterable[str],
    last_modified: int = 1,
    cohort_id: str = "c",
    group_type: str = "User",
    **changes: Any,
) -> bytes:
    """The body of a cohort."""
    ids = list(members)
    told = {
        "cohortId": cohort_id,
        "groupType": group_type,
        "lastModified": last_modified,
        "size": len(ids),
        "memberIds": ids,
    }
    return msgspec.json.encode(told | changes)


def cohort(members: Iterable[str], last_modified: int = 1, **changes: Any) -> Step:
    """Answer with a cohort, gzipped."""
    return gzip_answer(body(members, last_modified, **changes))


def targets(*cohort_ids: str, group_type: str = "User") -> frozenset[Target]:
    return frozenset(Target(group_type, cohort_id) for cohort_id in cohort_ids)


@dataclass
class CohortRig:
    """Everything around one cohorts loop; `directory` outlives it."""

    up: FakeUpstream
    client: UpstreamClient
    store: Store
    builder: Builder
    metrics: Metrics
    shelf: Shelf = field(default_factory=Shelf)
    timings: CohortTimings = QUICK
    max_size: int = 1000
    turns: Turns = field(default_factory=lambda: Turns(4))
    now: float = 1_000_000.0

    def clock(self) -> float:
        return self.now

    def times(self, **changes: Any) -> None:
        self.timings = msgspec.structs.replace(self.timings, **changes)

    def loop(self, label: str = "p", index: int = 0) -> CohortsLoop:
        workshop = Workshop(
            client=self.client,
            shelf=self.shelf,
            store=self.store,
            builder=self.builder,
            metrics=self.metrics,
            timings=self.timings,
            max_size=self.max_size,
            clock=self.clock,
            seed="7",
            turns=self.turns,
        )
        return CohortsLoop(label, index, KEYS, workshop)

    @asynccontextmanager
    async def running(self, loop: CohortsLoop | None = None) -> AsyncIterator[CohortsLoop]:
        loop = loop or self.loop()
        running = tasks.start("cohorts", loop.run())
        try:
            yield loop
        finally:
            await tasks.stop(running)

    @asynccontextmanager
    async def wanting(
        self, *cohort_ids: str, group_type: str = "User"
    ) -> AsyncIterator[CohortsLoop]:
        """Run a loop of which one deployment needs these cohorts (`c` by default)."""
        async with self.running() as loop:
            loop.need(FIRST, targets(*(cohort_ids or ("c",)), group_type=group_type))
            yield loop

    def on(self, *steps: Step, cohort_id: str = "c") -> None:
        """Script a cohort's answers."""
        self.up.on("GET", PATH + cohort_id, *steps)

    async def asked(self, count: int, cohort_id: str = "c") -> list[dict[str, str]]:
        """Wait until a cohort was asked for so often; return the queries."""
        requests = await self.up.received(count, PATH + cohort_id)
        return [dict(request.query) for request in requests]

    def holds(self, member: str, cohort_id: str = "c", group_type: str = "User") -> bool:
        return self.shelf.memberships(0, group_type, member).any_of([cohort_id])

    def version(self, cohort_id: str = "c") -> int | None:
        here = self.shelf.get(0, cohort_id)
        return here.last_modified if here else None

    def packed_is_there(self) -> bool:
        """Whether the body of the cohort that is here can be opened."""
        here = self.shelf.get(0, "c")
        return here is not None and here.packed.exists()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_{name}", labels)

    def outcomes(self, outcome: str) -> float:
        found = self.metric("sync_outcomes_total", what="cohort", outcome=outcome)
        return found or 0.0

    def strays(self) -> list[str]:
        """The names of files in the workspace that no manifest names."""
        folder = self.store.workspace
        assert folder is not None
        named = "".join(path.read_text() for path in folder.parent.glob("manifest*.json"))
        return [path.name for path in folder.iterdir() if path.name not in named]

    async def tidy(self) -> None:
        """Wait until only what is kept lies in the data directory."""
        await wait_until(lambda: not self.strays())


def one_of(loop: CohortsLoop, cohort_id: str = "c") -> dict[str, Any]:
    """The status of one cohort."""
    [told] = [one for one in loop.status()["cohorts"] if one["id"] == cohort_id]
    assert isinstance(told, dict)
    return told


@asynccontextmanager
async def rigged(
    directory: Path | None, places: Path | None = None, soft: float = 0.05
) -> AsyncIterator[CohortRig]:
    """Open a rig with a data directory (or none), and a place for a workspace.

    `soft` is how many seconds the store may let pass without a look at the disk.
    """
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(FakeUpstream())
        session = await stack.enter_async_context(open_session())
        metrics = Metrics()
        store = Store(
            directory,
            metrics,
            places=None if places is None else [places],
            pace=Pace(commit=0.01, soft=soft, first_retry=0.05, longest_retry=0.1),
        )
        await store.open()
        stack.push_async_callback(store.close)
        committing = tasks.start("store", store.run())
        stack.push_async_callback(tasks.stop, committing)
        builder = Builder()
        stack.push_async_callback(builder.close)
        client = UpstreamClient(
            session, Urls(cohorts=up.url), deadlines=Deadlines(connect=30, total=30)
        )
        yield CohortRig(up, client, store, builder, metrics)
        # What is under way in threads must not outlive the loop.
        await asyncio.sleep(0)
