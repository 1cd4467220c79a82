"""The whole of sync: all projects, all deployments, one board."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, final

from proxy import tasks
from proxy.settings.schema import Project
from proxy.snapshots.snapshot import Deployment
from proxy.sync.cohort_records import forget_other_projects
from proxy.sync.deployments import DeploymentsLoop
from proxy.sync.kept import DEPLOYMENTS, FLAGS, forget_others
from proxy.sync.means import Means
from proxy.sync.needs import ProjectCohorts
from proxy.sync.plan import Owner
from proxy.sync.readiness import Readiness
from proxy.sync.restoring import WarmStart
from proxy.sync.roster import Roster
from proxy.upstream.deployments import deployment_type


@final
class Syncer:
    """Keeps the board up to date; static deployments are authorised as soon as it exists.

    `cohorts` are those of each project, in the order of `projects`. `restored` is set once all
    that the data directory kept is in force again; before it nothing is asked of upstream.
    """

    def __init__(
        self, projects: Sequence[Project], means: Means, cohorts: Sequence[ProjectCohorts]
    ) -> None:
        self.restored = asyncio.Event()
        self._means = means
        self._cohorts = cohorts
        self._roster = Roster(means, cohorts)
        self._lists: list[DeploymentsLoop] = []
        self._projects = projects
        self._readiness = Readiness()
        for index, project in enumerate(projects):
            self._add_static(project, index)
            if project.management_key is not None:
                owner = Owner(label=project.label, index=index, record=project.api_key.label)
                self._lists.append(
                    DeploymentsLoop(
                        owner, project.management_key, self._roster, means, self._listed
                    )
                )
        self._means.board.pending = not self.knows_all_deployments()

    async def restore(self) -> None:
        """Put in force what the data directory kept; a second time does nothing."""
        if not self.restored.is_set():
            await WarmStart(self._means.store, self._lists, self._cohorts, self._roster).run()
            self.restored.set()
            self._tidy()

    async def run(self) -> None:
        """Keep everything up to date until cancelled; the board keeps what it holds then."""
        await self.restore()
        running = [tasks.start(f"deployments {one.owner.label}", one.run()) for one in self._lists]
        running += [tasks.start(f"cohorts {one.label}", one.run()) for one in self._cohorts]
        self._roster.start()
        try:
            await asyncio.Event().wait()
        finally:
            await tasks.stop(*running)
            await self._roster.stop()

    def knows_all_deployments(self) -> bool:
        """Whether upstream listed each project's deployments: then unknown keys are not ours."""
        return all(one.listed for one in self._lists)

    def may_target(self, project_index: int, cohort_id: str) -> bool:
        """Tell whether a project's flags target a cohort, as far as they are known yet."""
        lists = [one for one in self._lists if one.owner.index == project_index]
        if not self.restored.is_set() or not all(one.listed for one in lists):
            return True
        return any(
            loop.may_target(cohort_id)
            for loop in self._roster.loops()
            if loop.desk.slot.deployment.project_index == project_index
        )

    def status(self) -> list[dict[str, Any]]:
        """Return the state of each deployment, as JSON; no key is in it."""
        return [loop.status() for loop in self._roster.loops()]

    def project_status(self) -> list[dict[str, Any]]:
        """Return the state of each project whose deployments are listed, as JSON."""
        return [one.status() for one in self._lists]

    def cohort_status(self) -> list[dict[str, Any]]:
        """Return the state of each project's cohorts, as JSON."""
        return [one.status() for one in self._cohorts]

    def ready(self) -> list[tuple[str, bool, str]]:
        """Return for each project and deployment its label, whether it is ready, and the reason."""
        return [one.ready() for one in self._lists] + [
            loop.ready() for loop in self._roster.loops()
        ]

    def is_ready(self) -> bool:
        """Tell whether every project can be served."""
        known = {project.label: True for project in self._projects} | {
            one.owner.label: one.known for one in self._lists
        }
        standings = [loop.standing() for loop in self._roster.loops()]
        return self._readiness.decide(known, standings) and self.restored.is_set()

    def _add_static(self, project: Project, index: int) -> None:
        for key in project.deployment_keys:
            if key not in self._roster.held:
                deployment = Deployment(
                    key=key,
                    label=key.label,
                    project=project.label,
                    project_index=index,
                    type=deployment_type(key.reveal()),
                )
                self._roster.add(deployment, fixed=True)

    def _listed(self) -> None:
        self._means.board.pending = not self.knows_all_deployments()
        self._tidy()

    def _tidy(self) -> None:
        """Drop from the data directory what belongs to nobody, once all deployments are known."""
        records = {project.api_key.label for project in self._projects}
        forget_other_projects(self._means.store, records)
        if self.restored.is_set() and self.knows_all_deployments():
            forget_others(self._means.store, FLAGS, {key.label for key in self._roster.held})
            owners = {one.owner.record for one in self._lists}
            forget_others(self._means.store, DEPLOYMENTS, owners)
