"""What is held and kept up to date: flags and cohorts, in memory and in the data directory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from proxy.cohorts.builder import Builder
from proxy.cohorts.shelf import Shelf
from proxy.run.offline import offline_supply
from proxy.store.store import Store
from proxy.sync.cohort_verdicts import cohort_timings_of
from proxy.sync.cohort_workshop import Workshop
from proxy.sync.cohorts import CohortsLoop
from proxy.sync.means import means_for
from proxy.sync.offline import Offline
from proxy.sync.offline_cohorts import OfflineCohorts
from proxy.sync.schedule import timings_of
from proxy.sync.syncer import Syncer
from proxy.upstream.cohorts import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.cohorts.shelf import Cohort
    from proxy.evaluation.memberships import Memberships
    from proxy.metrics import Metrics
    from proxy.run.loops import Loops
    from proxy.settings.schema import Project, Settings
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Deployment
    from proxy.tasks import Clock
    from proxy.upstream.client import UpstreamClient


@final
class Keeping:
    """The store, what builds cohorts, and what syncs: opened and closed together."""

    def __init__(
        self, settings: Settings, client: UpstreamClient, board: Board, metrics: Metrics
    ) -> None:
        """Nothing is opened yet; raises `SettingsError` for what cannot be served offline."""
        is_offline = settings.offline.is_on
        # Offline nothing is new, so nothing has to outlive the process.
        kept_at = None if settings.data_dir is None or is_offline else Path(settings.data_dir)
        self.store = Store(kept_at, metrics)
        self.shelf = Shelf()
        self._builder = Builder()
        self._means = means = means_for(timings_of(settings), client, board, self.store, metrics)
        self._served = settings.projects
        self._supply = offline_supply(settings, lambda: self._served) if is_offline else None
        self._workshop = self._furnished(settings, client, metrics)
        self._new_cohorts = (
            partial(self._offline_cohorts, metrics, means.clock)
            if is_offline
            else partial(self._cohorts_loop, self._workshop)
        )
        self._cohorts: dict[int, CohortsLoop | OfflineCohorts] = {
            index: self._new_cohorts(index, project)
            for index, project in enumerate(settings.projects)
        }
        go_offline = None if self._supply is None else partial(Offline, self._supply.supply)
        self.syncer = Syncer(settings.projects, means, self._cohorts, go_offline)

    def change(self, settings: Settings, projects: Mapping[int, Project]) -> None:
        """Let other settings count from now on, with the projects by their index.

        What is held of projects that stay is not touched; `settle` has to follow.
        """
        self._served = settings.projects
        self._means.timings = timings_of(settings)
        self._workshop.timings = cohort_timings_of(settings)
        self._workshop.max_size = settings.max_cohort_size
        for index in self._cohorts.keys() - projects.keys():
            # First: a new project may be shown under the same name.
            self._cohorts[index].close()
        for index, project in projects.items():
            cohorts = self._cohorts.get(index)
            if cohorts is None:
                self._cohorts[index] = self._new_cohorts(index, project)
            elif isinstance(cohorts, CohortsLoop):
                cohorts.use(_credentials(project))
        self.syncer.change(projects)

    async def settle(self) -> None:
        """End the sync of projects that are served no more, and begin that of new ones."""
        for index in await self.syncer.settle():
            del self._cohorts[index]
            self.shelf.clear(index)

    def _furnished(self, settings: Settings, client: UpstreamClient, metrics: Metrics) -> Workshop:
        return Workshop(
            client=client,
            shelf=self.shelf,
            store=self.store,
            builder=self._builder,
            metrics=metrics,
            timings=cohort_timings_of(settings),
            max_size=settings.max_cohort_size,
        )

    def _cohorts_loop(self, workshop: Workshop, index: int, project: Project) -> CohortsLoop:
        return CohortsLoop(project.label, index, _credentials(project), workshop)

    def _offline_cohorts(
        self, metrics: Metrics, clock: Clock, index: int, project: Project
    ) -> OfflineCohorts:
        record = project.api_key.label
        return OfflineCohorts(
            project.label, index, record, self.shelf, metrics=metrics, clock=clock
        )

    async def open(self, loops: Loops, opened: AsyncExitStack) -> None:
        """Open the store, then start to sync; leaving `opened` ends with the last commit."""
        if self._supply is not None:
            opened.callback(self._supply.close)
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
        cohorts = self._cohorts.get(project_index)
        if cohorts is None or cohorts.is_unknown(cohort_id):
            return "unknown"
        return "loading" if self.syncer.may_target(project_index, cohort_id) else "unknown"

    def renew_cohort(self, project_index: int, cohort: Cohort) -> None:
        """Get a project's cohort anew whose body on the disk is damaged."""
        # The project may not be served any more by now.
        cohorts = self._cohorts.get(project_index)
        if cohorts is not None:
            cohorts.renew(cohort)


def _credentials(project: Project) -> Credentials:
    return Credentials(api_key=project.api_key, secret_key=project.secret_key)
