"""What is held and kept up to date: flags and cohorts, in memory and in the data directory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from proxy.cohorts.builder import Builder
from proxy.cohorts.shelf import Shelf
from proxy.store.store import Store
from proxy.sync.cohort_verdicts import cohort_timings_of
from proxy.sync.cohort_workshop import Workshop
from proxy.sync.cohorts import CohortsLoop
from proxy.sync.means import means_for
from proxy.sync.schedule import timings_of
from proxy.sync.syncer import Syncer
from proxy.upstream.cohorts import Credentials

if TYPE_CHECKING:
    from proxy.cohorts.shelf import Cohort
    from proxy.evaluation.memberships import Memberships
    from proxy.metrics import Metrics
    from proxy.run.loops import Loops
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Deployment
    from proxy.upstream.client import UpstreamClient


@final
class Keeping:
    """The store, what builds cohorts, and what syncs: opened and closed together."""

    def __init__(
        self, settings: Settings, client: UpstreamClient, board: Board, metrics: Metrics
    ) -> None:
        directory = None if settings.data_dir is None else Path(settings.data_dir)
        self.store = Store(directory, metrics)
        self.shelf = Shelf()
        self._builder = Builder()
        workshop = Workshop(
            client=client,
            shelf=self.shelf,
            store=self.store,
            builder=self._builder,
            metrics=metrics,
            timings=cohort_timings_of(settings),
            max_size=settings.max_cohort_size,
        )
        self._cohorts = [
            CohortsLoop(
                project.label,
                index,
                Credentials(api_key=project.api_key, secret_key=project.secret_key),
                workshop,
            )
            for index, project in enumerate(settings.projects)
        ]
        means = means_for(timings_of(settings), client, board, self.store, metrics)
        self.syncer = Syncer(settings.projects, means, self._cohorts)

    async def open(self, loops: Loops, opened: AsyncExitStack) -> None:
        """Open the store, then start to sync; leaving `opened` ends with the last commit."""
        await self.store.open()
        opened.push_async_callback(self.store.close)
        await opened.enter_async_context(loops.running("store", self.store.run, vital=False))
        opened.push_async_callback(self._builder.close)
        await opened.enter_async_context(loops.running("sync", self.syncer.run))

    def memberships_of(
        self, deployment: Deployment, group_type: str, name: str
    ) -> Memberships | None:
        """Return the cohorts of a member of a group type, as a deployment's project knows them."""
        return self.shelf.memberships(deployment.project_index, group_type, name)

    def find_cohort(
        self, project_index: int, cohort_id: str
    ) -> Cohort | Literal["loading", "unknown"]:
        """Return a project's cohort, or whether it may still come."""
        cohort = self.shelf.get(project_index, cohort_id)
        if cohort is not None:
            return cohort
        if self._cohorts[project_index].is_unknown(cohort_id):
            return "unknown"
        return "loading" if self.syncer.may_target(project_index, cohort_id) else "unknown"

    def renew_cohort(self, project_index: int, cohort: Cohort) -> None:
        """Get a project's cohort anew whose body on the disk is damaged."""
        self._cohorts[project_index].renew(cohort)
