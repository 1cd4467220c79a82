"""The whole of sync: all projects, all deployments, one board."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from proxy import tasks
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.snapshots.snapshot import Deployment
from proxy.sync.cohort_records import forget_other_projects
from proxy.sync.deployments import DeploymentsLoop
from proxy.sync.kept import DEPLOYMENTS, FLAGS, forget_others
from proxy.sync.means import Means
from proxy.sync.needs import ProjectCohorts
from proxy.sync.offline import Offline
from proxy.sync.plan import Held, Owner
from proxy.sync.readiness import Readiness
from proxy.sync.restoring import WarmStart
from proxy.sync.roster import Roster
from proxy.upstream.deployments import deployment_type

Projects = Callable[[], Mapping[int, Project]]
GoOffline = Callable[[Means, Roster, Mapping[int, ProjectCohorts], Projects], Offline]
"""Makes what serves without upstream."""


@final
class Syncer:
    """Keeps the board up to date; static deployments are authorised as soon as it exists.

    `cohorts` are those of each project, by its index, and belong to who made them. `restored` is
    set once all that the data directory kept is in force again; before it nothing is asked of
    upstream.
    """

    def __init__(
        self,
        projects: Sequence[Project],
        means: Means,
        cohorts: Mapping[int, ProjectCohorts],
        go_offline: GoOffline | None = None,
    ) -> None:
        self.restored = asyncio.Event()
        self._means = means
        self._cohorts = cohorts
        self._roster = Roster(means, cohorts)
        self._lists: dict[int, DeploymentsLoop] = {}
        self._projects = dict(enumerate(projects))
        self.offline = (
            None
            if go_offline is None
            else go_offline(means, self._roster, cohorts, lambda: self._projects)
        )
        self._readiness = Readiness()
        self._tasks: dict[ProjectCohorts | DeploymentsLoop, asyncio.Task[None]] = {}
        self._running = False
        self._leaving: frozenset[Secret] = frozenset()
        for index, project in self._projects.items():
            for key in project.deployment_keys:
                self._add_static(key, project, index)
            self._add_list(project, index)
        self._means.board.pending = not self.knows_all_deployments()

    async def restore(self) -> None:
        """Put in force what the data directory kept; a second time does nothing."""
        if self.offline is not None and not self.restored.is_set():
            await self.offline.restore()
            self.restored.set()
        elif not self.restored.is_set():
            lists, cohorts = list(self._lists.values()), list(self._cohorts.values())
            await WarmStart(self._means.store, lists, cohorts, self._roster).run()
            self.restored.set()
            self._tidy()

    async def run(self) -> None:
        """Keep everything up to date until cancelled; the board keeps what it holds then."""
        await self.restore()
        if self.offline is not None:
            await self.offline.run()
        self._running = True
        self._start_missing()
        self._roster.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._running = False
            running, self._tasks = self._tasks, {}
            await tasks.stop(*running.values())
            await self._roster.stop()

    def change(self, projects: Mapping[int, Project]) -> None:
        """Serve these projects from now on, each by its index; `settle` has to follow.

        At once no key opens any more what is not served, and upstream is asked with new keys.
        """
        before, self._projects = self._projects, dict(projects)
        named = {key: at for at, project in projects.items() for key in project.deployment_keys}
        self._leaving = frozenset(
            key
            for key, one in self._roster.held.items()
            if self._goes(one, named.get(key, one.deployment.project_index))
        )
        self._roster.revoke(self._leaving)
        for index in [index for index in self._lists if not self._is_listed(index)]:
            task = self._tasks.get(self._lists.pop(index))
            if task is not None:
                task.cancel()
        for index, project in self._projects.items():
            if index in self._lists:
                self._ask(project, index)
            elif index not in before or self._is_listed(index):
                self._readiness.excuse(project.label)
                self._loosen(project, index)
                self._add_list(project, index)
        moved = bool(self._leaving & named.keys())
        self._means.board.pending = moved or not self.knows_all_deployments()

    async def settle(self) -> list[int]:
        """End what is not served any more, then begin what is new; the rest goes on meanwhile.

        Return whose cohorts nobody needs any more.
        """
        ours = {*self._lists.values(), *(self._cohorts[index] for index in self._projects)}
        ended = [self._tasks.pop(one) for one in [*self._tasks] if one not in ours]
        await tasks.stop(*ended)
        await asyncio.gather(*(self._roster.remove(key) for key in self._leaving))
        for index, project in self._projects.items():
            for key in project.deployment_keys:
                # A listing may have been quicker, to add it or to let it go.
                while self._is_anothers(key, index) or self._roster.is_going(key):
                    await self._roster.remove(key)
                self._add_static(key, project, index)
        if self._running:
            self._start_missing()
        if self.offline is not None:
            self.offline.again()
        self._listed()
        return [index for index in self._cohorts if index not in self._projects]

    def knows_all_deployments(self) -> bool:
        """Whether upstream listed each project's deployments: then unknown keys are not ours."""
        return all(one.listed for one in self._lists.values())

    def may_target(self, project_index: int, cohort_id: str) -> bool:
        """Tell whether a project's flags target a cohort, as far as they are known yet."""
        lists = self._lists.get(project_index)
        if not self.restored.is_set() or (lists is not None and not lists.listed):
            return True
        return any(
            loop.may_target(cohort_id)
            for loop in self._roster.loops()
            if loop.desk.slot.deployment.project_index == project_index
        )

    def status(self, key: str | None = None) -> list[dict[str, Any]]:
        """Return the state of each deployment, or of the one whose key has this hash, as JSON.

        No key is in it.
        """
        loops = self._roster.loops()
        return [
            loop.status() for loop in loops if key in (None, loop.desk.slot.deployment.key.label)
        ]

    def project_status(self) -> list[dict[str, Any]]:
        """Return the state of each project whose deployments are listed, as JSON."""
        return [one.status() for one in self._lists.values()]

    def cohort_status(self) -> list[dict[str, Any]]:
        """Return the state of each project's cohorts, as JSON."""
        return [one.status() for one in self._cohorts.values()]

    def ready(self) -> list[tuple[str, bool, str]]:
        """Return for each project and deployment its label, whether it is ready, and the reason."""
        offline = [] if self.offline is None else [self.offline.ready()]
        loops = [loop.ready() for loop in self._roster.loops()]
        return offline + [one.ready() for one in self._lists.values()] + loops

    def is_ready(self) -> bool:
        """Tell whether every project can be served."""
        known = {project.label: True for project in self._projects.values()} | {
            one.owner.label: one.known for one in self._lists.values()
        }
        standings = [loop.standing() for loop in self._roster.loops()]
        if self.offline is not None:
            # Nothing more will come by itself: what is absent must not hold up what is there.
            standings = [one._replace(hopeless=True) for one in standings]
            if not any(one.has_flags for one in standings):
                return False
        return self._readiness.decide(known, standings) and self.restored.is_set()

    def _goes(self, held: Held, named_by: int) -> bool:
        """Tell whether a deployment is not served any more, or for the project that names it."""
        index = held.deployment.project_index
        project = self._projects.get(index)
        if project is None or named_by != index:
            return True
        return held.deployment.key not in project.deployment_keys and not self._is_listed(index)

    def _is_listed(self, index: int) -> bool:
        project = self._projects.get(index)
        return project is not None and project.management_key is not None

    def _ask(self, project: Project, index: int) -> None:
        """Let a list go on with the key in force, at once if it has to decide about something."""
        assert project.management_key is not None
        self._lists[index].use(project.management_key, at_once=self._loosen(project, index))

    def _loosen(self, project: Project, index: int) -> bool:
        """Let deployments that settings name no more stay only while listed; tell of any."""
        loose = [
            key
            for key, held in self._roster.held.items()
            if held.deployment.project_index == index
            and held.fixed
            and key not in project.deployment_keys
        ]
        for key in loose:
            self._roster.fix(key, fixed=False)
        return bool(loose)

    def _start_missing(self) -> None:
        for index in self._projects:
            cohorts = self._cohorts[index]
            if cohorts not in self._tasks:
                self._tasks[cohorts] = tasks.start(f"cohorts {cohorts.label}", cohorts.run())
        for one in self._lists.values():
            if one not in self._tasks:
                self._tasks[one] = tasks.start(f"deployments {one.owner.label}", one.run())

    def _add_list(self, project: Project, index: int) -> None:
        if project.management_key is None or self.offline is not None:
            return
        owner = Owner(label=project.label, index=index, record=project.api_key.label)
        self._lists[index] = DeploymentsLoop(
            owner, project.management_key, self._roster, self._means, self._listed
        )

    def _is_anothers(self, key: Secret, index: int) -> bool:
        held = self._roster.held.get(key)
        return held is not None and held.deployment.project_index != index

    def _add_static(self, key: Secret, project: Project, index: int) -> None:
        if key in self._roster.held:
            self._roster.fix(key, fixed=True)
            return
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
        records = {project.api_key.label for project in self._projects.values()}
        forget_other_projects(self._means.store, records)
        if self.restored.is_set() and self.knows_all_deployments():
            forget_others(self._means.store, FLAGS, {key.label for key in self._roster.held})
            owners = {one.owner.record for one in self._lists.values()}
            forget_others(self._means.store, DEPLOYMENTS, owners)
