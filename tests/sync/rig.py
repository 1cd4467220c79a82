"""A board, a client and a clock around the fake upstream, with times that suit a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from proxy import tasks
from proxy.cohorts.builder import Builder
from proxy.cohorts.shelf import Shelf
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.settings.zones import Urls
from proxy.snapshots.board import Board, Slot
from proxy.snapshots.snapshot import Deployment
from proxy.store.store import Store
from proxy.sync.cohort_verdicts import CohortTimings
from proxy.sync.cohort_workshop import Workshop
from proxy.sync.cohorts import CohortsLoop
from proxy.sync.desk import Desk
from proxy.sync.means import Means, means_for
from proxy.sync.roster import Roster
from proxy.sync.schedule import Timings
from proxy.sync.syncer import Syncer
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from proxy.upstream.cohorts import Credentials
from proxy.upstream.flags import PATH as FLAGS
from proxy.upstream.flags import STREAM_PATH as STREAM
from tests.fakes.upstream import FakeUpstream

__all__ = [
    "FLAGS",
    "STREAM",
    "Rig",
    "array",
    "flag",
    "project",
    "rigged",
    "targeting",
    "wait_until",
]

KEY = "server-alpha-key"
QUICK = Timings(deployments=0.02, flags=0.02, streams=False, longest_retry=0.05)
QUICK_COHORTS = CohortTimings(period=0.05, wait=300.0, first_retry=0.02, longest_retry=0.05)


def flag(key: str = "feature", variant: str = "on", **changes: Any) -> dict[str, Any]:
    """A flag that gives everybody one variant."""
    return {
        "key": key,
        "variants": {variant: {"key": variant, "value": variant}},
        "segments": [{"variant": variant}],
        "metadata": {"flagVersion": 1, "deployed": True},
    } | changes


def targeting(key: str, *cohort_ids: str, variant: str = "on", **changes: Any) -> dict[str, Any]:
    """A flag that gives one variant to those who are in any of some cohorts."""
    condition = {
        "selector": ["context", "user", "cohort_ids"],
        "op": "set contains any",
        "values": list(cohort_ids),
    }
    conditions = {"conditions": [[condition]]} if cohort_ids else {}
    return flag(key, variant, segments=[{"variant": variant} | conditions], **changes)


def array(*flags: object) -> bytes:
    """The body that upstream sends."""
    return msgspec.json.encode(flags)


def project(*deployment_keys: str, management: str | None = None, api: str = "api-1") -> Project:
    """A project of the configuration."""
    return Project(
        api_key=Secret(api),
        secret_key=Secret(f"secret-{api}"),
        management_key=None if management is None else Secret(management),
        deployment_keys=tuple(map(Secret, deployment_keys)),
    )


async def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds; an AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come"
        await asyncio.sleep(0.002)


@dataclass
class Rig:
    """Everything that a loop needs, around one fake upstream."""

    up: FakeUpstream
    client: UpstreamClient
    board: Board = field(default_factory=Board)
    metrics: Metrics = field(default_factory=Metrics)
    timings: Timings = QUICK
    cohort_timings: CohortTimings = QUICK_COHORTS
    store: Store = field(default_factory=lambda: Store(None, Metrics()))
    shelf: Shelf = field(default_factory=Shelf)
    builder: Builder = field(default_factory=Builder)
    now: float = 1_000_000.0

    def clock(self) -> float:
        return self.now

    def means(self) -> Means:
        return means_for(
            self.timings,
            self.client,
            self.board,
            self.store,
            self.metrics,
            clock=self.clock,
            seed="7",
        )

    def cohorts(self, *projects: Project) -> dict[int, CohortsLoop]:
        """The cohorts of each project; of one without any by default."""
        workshop = Workshop(
            client=self.client,
            shelf=self.shelf,
            store=self.store,
            builder=self.builder,
            metrics=self.metrics,
            timings=self.cohort_timings,
            max_size=2**31 - 1,
            clock=self.clock,
            seed="7",
        )
        return {
            index: CohortsLoop(one.label, index, Credentials(one.api_key, one.secret_key), workshop)
            for index, one in enumerate(projects or (project(),))
        }

    def desk(self, means: Means | None = None) -> Desk:
        """A desk for one deployment."""
        return Desk(self.slot(), means or self.means(), self.cohorts()[0])

    def roster(self, means: Means | None = None) -> Roster:
        """A roster for one project."""
        return Roster(means or self.means(), self.cohorts())

    def syncer(self, *projects: Project) -> Syncer:
        """A syncer of some projects."""
        return Syncer(projects, self.means(), self.cohorts(*projects))

    def slot(self, key: str = KEY, label: str = "alpha") -> Slot:
        return self.board.authorise(
            Deployment(key=Secret(key), label=label, project="p", project_index=0, type="server")
        )

    def found(self, key: str = KEY) -> Slot:
        """The slot of a deployment that is authorised."""
        slot = self.board.find(key)
        assert slot is not None
        return slot

    def slot_label(self, key: str = KEY) -> str | None:
        """The label of a deployment, if it is authorised."""
        slot = self.board.find(key)
        return slot.deployment.label if slot else None

    def times(self, **changes: Any) -> None:
        """Change some of the timings."""
        self.timings = msgspec.structs.replace(self.timings, **changes)

    @asynccontextmanager
    async def syncing(self, *projects: Project) -> AsyncIterator[Syncer]:
        """Run a syncer of some projects."""
        syncer = self.syncer(*projects)
        async with self.running(syncer):
            yield syncer

    @asynccontextmanager
    async def running(self, syncer: Syncer) -> AsyncIterator[None]:
        running = tasks.start("syncer", syncer.run())
        try:
            yield
        finally:
            await tasks.stop(running)

    def variant(self, key: str = KEY, name: str = "feature") -> str | None:
        """The variant that everybody gets at the moment."""
        found = self.flags(key).get(name)
        return None if found is None else next(iter(found.variants))

    def flags(self, key: str = KEY) -> dict[str, Any]:
        """The flags in force by key, none if there is no snapshot."""
        slot = self.board.find(key)
        return dict(slot.snapshot.compiled.flags) if slot and slot.snapshot else {}

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one metric."""
        return self.metrics.registry.get_sample_value(f"amplitude_proxy_{name}", labels)

    def status(self, syncer: Syncer) -> dict[str, Any]:
        """The state of a syncer's only deployment."""
        [status] = syncer.status()
        return status

    def series(self, label: str) -> list[str]:
        """The names of all metrics that a deployment has series of."""
        return [
            sample.name
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.labels.get("deployment") == label
        ]


@asynccontextmanager
async def rigged(directory: Path | None = None) -> AsyncIterator[Rig]:
    """Open a rig, with a data directory if one is given."""
    async with FakeUpstream() as up, open_session() as session:
        urls = Urls(
            flags=up.url,
            cohorts=up.url,
            management=up.url,
            stream=up.url,
            analytics=f"{up.url}/batch",
            exposures=f"{up.url}/batch",
        )
        deadlines = Deadlines(connect=10, total=10)
        rig = Rig(up, UpstreamClient(session, urls, deadlines=deadlines))
        rig.store = Store(directory, rig.metrics, rig.clock)
        await rig.store.open()
        committing = tasks.start("store", rig.store.run())
        try:
            yield rig
        finally:
            await rig.builder.close()
            await tasks.stop(committing)
            await rig.store.close()
