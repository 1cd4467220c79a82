"""A board, a client and a clock around the fake upstream, with times that suit a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy import tasks
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.settings.zones import Urls
from proxy.snapshots.board import Board, Slot
from proxy.snapshots.snapshot import Deployment
from proxy.sync.gate import Gate
from proxy.sync.means import Means, seats_for
from proxy.sync.schedule import Timings
from proxy.sync.syncer import Syncer
from proxy.upstream.client import Deadlines, UpstreamClient, open_session
from proxy.upstream.flags import PATH as FLAGS
from proxy.upstream.flags import STREAM_PATH as STREAM
from tests.fakes.upstream import FakeUpstream

__all__ = ["FLAGS", "STREAM", "Rig", "array", "flag", "project", "rigged", "wait_until"]

KEY = "server-alpha-key"
QUICK = Timings(deployments=0.02, flags=0.02, streams=False, longest_retry=0.05)


def flag(key: str = "feature", variant: str = "on", **changes: Any) -> dict[str, Any]:
    """A flag that gives everybody one variant."""
    return {
        "key": key,
        "variants": {variant: {"key": variant, "value": variant}},
        "segments": [{"variant": variant}],
        "metadata": {"flagVersion": 1, "deployed": True},
    } | changes


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


async def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
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
    now: float = 1_000_000.0

    def clock(self) -> float:
        return self.now

    def means(self) -> Means:
        return Means(
            client=self.client,
            board=self.board,
            metrics=self.metrics,
            timings=self.timings,
            gate=Gate(self.timings.parallel),
            openings=Gate(self.timings.parallel),
            seats=seats_for(self.timings.most_streams),
            clock=self.clock,
            seed="7",
        )

    def slot(self, key: str = KEY, label: str = "alpha") -> Slot:
        return self.board.authorise(
            Deployment(key=Secret(key), label=label, project="p", project_index=0, type="server")
        )

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
        syncer = Syncer(
            projects, self.timings, self.client, self.board, self.metrics, clock=self.clock
        )
        running = tasks.start("syncer", syncer.run())
        try:
            yield syncer
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

    def series(self, label: str) -> list[str]:
        """The names of all metrics that a deployment has series of."""
        return [
            sample.name
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.labels.get("deployment") == label
        ]


@asynccontextmanager
async def rigged() -> AsyncIterator[Rig]:
    """Open a rig."""
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
        yield Rig(up, UpstreamClient(session, urls, deadlines=deadlines))
