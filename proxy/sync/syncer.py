"""The whole of sync: all projects, all deployments, one board."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, final

from proxy import tasks
from proxy.metrics import Metrics
from proxy.settings.schema import Project
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Deployment
from proxy.sync.deployments import DeploymentsLoop
from proxy.sync.gate import Gate
from proxy.sync.means import Means, seats_for
from proxy.sync.plan import Owner
from proxy.sync.readiness import Readiness
from proxy.sync.roster import Roster
from proxy.sync.schedule import Timings
from proxy.tasks import Clock, wall_clock
from proxy.upstream.client import UpstreamClient
from proxy.upstream.deployments import deployment_type


@final
class Syncer:
    """Keeps the board up to date; static deployments are authorised as soon as it exists.

    `seed` spreads a fleet's attempts over time: give each instance its own (none: by chance).
    """

    def __init__(
        self,
        projects: Sequence[Project],
        timings: Timings,
        client: UpstreamClient,
        board: Board,
        metrics: Metrics,
        *,
        clock: Clock = wall_clock,
        seed: str = "",
    ) -> None:
        self._board = board
        means = Means(
            client=client,
            board=board,
            metrics=metrics,
            timings=timings,
            gate=Gate(timings.parallel),
            openings=Gate(timings.parallel),
            seats=seats_for(timings.most_streams),
            clock=clock,
            seed=seed or secrets.token_hex(8),
        )
        self._roster = Roster(means)
        self._lists: list[DeploymentsLoop] = []
        self._projects = [project.label for project in projects]
        self._readiness = Readiness()
        for index, project in enumerate(projects):
            self._add_static(project, index)
            if project.management_key is not None:
                owner = Owner(label=project.label, index=index)
                self._lists.append(
                    DeploymentsLoop(owner, project.management_key, self._roster, means, self._known)
                )
        self._known()

    async def run(self) -> None:
        """Keep everything up to date until cancelled; the board keeps what it holds then."""
        running = [tasks.start(f"deployments {one.owner.label}", one.run()) for one in self._lists]
        self._roster.start()
        try:
            await asyncio.Event().wait()
        finally:
            await tasks.stop(*running)
            await self._roster.stop()

    def knows_all_deployments(self) -> bool:
        """Whether each project's deployments were listed once: then unknown keys are not ours."""
        return all(one.known for one in self._lists)

    def status(self) -> list[dict[str, Any]]:
        """Return the state of each deployment, as JSON; no key is in it."""
        return [loop.status() for loop in self._roster.loops()]

    def project_status(self) -> list[dict[str, Any]]:
        """Return the state of each project whose deployments are listed, as JSON."""
        return [one.status() for one in self._lists]

    def ready(self) -> list[tuple[str, bool, str]]:
        """Return for each project and deployment its label, whether it is ready, and the reason."""
        return [one.ready() for one in self._lists] + [
            loop.ready() for loop in self._roster.loops()
        ]

    def is_ready(self) -> bool:
        """Tell whether every project can be served."""
        known = dict.fromkeys(self._projects, True) | {
            one.owner.label: one.known for one in self._lists
        }
        return self._readiness.decide(known, [loop.standing() for loop in self._roster.loops()])

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

    def _known(self) -> None:
        self._board.pending = not self.knows_all_deployments()
