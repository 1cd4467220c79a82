"""The keys that a web page may show, and what is said when upstream does not give what it asks for.

They are those of deployments, and the API keys of projects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from proxy.api.credentials import INVALID
from proxy.api.messages import Response, failure, unavailable
from proxy.errors import UpstreamError, UpstreamRefused
from proxy.evaluation.deployment import compile_deployment
from proxy.snapshots.snapshot import Deployment, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prometheus_client import Counter

    from proxy.settings.schema import Project
    from proxy.snapshots.board import Board

NO_FLAGS_YET: Final = compile_deployment(b"[]")
PASSED_ON: Final = frozenset({400, 403, 404, 410, 413, 414, 431})


def refusal(error: UpstreamError) -> Response:
    """Return what to answer in upstream's place: its refusal, or 503 for everything else."""
    if isinstance(error, UpstreamRefused) and error.status == 401:
        return INVALID
    if isinstance(error, UpstreamRefused) and error.status in PASSED_ON:
        return failure(error.status, "Refused by Amplitude")
    return unavailable("Amplitude does not answer at the moment")


def counting(answers: Counter, what: str) -> Callable[[str], None]:
    """Return what counts an answer to a page by its outcome."""
    return lambda outcome: answers.labels(what, outcome).inc()


@final
class PageKeys:
    """Knows which keys are ours; web experiments carry a project's API key."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._projects: dict[str, Deployment] = {}

    def know(self, projects: Mapping[int, Project]) -> None:
        """Know the projects in force from now on, each by its index."""
        self._projects = {
            project.api_key.reveal(): Deployment(
                key=project.api_key,
                label=project.api_key.label,
                project=project.label,
                project_index=index,
            )
            for index, project in projects.items()
        }

    @property
    def pending(self) -> bool:
        """Tell whether a key that is not known may yet turn out to be ours."""
        return self._board.pending

    def find(self, key: str) -> Deployment | None:
        """Return what a key opens, as far as upstream is asked in its name; None if it is not ours.

        Whether upstream takes the API key of a project for a deployment's is for it to say.
        """
        slot = self._board.find(key)
        return self._projects.get(key) if slot is None else slot.deployment

    def without_flags(self, key: str) -> Snapshot | None:
        """Return a snapshot without flags for a key of ours that has none; None for all others."""
        slot = self._board.find(key)
        deployment = self.find(key)
        if deployment is None or (slot is not None and slot.snapshot is not None):
            return None
        return Snapshot(deployment=deployment, compiled=NO_FLAGS_YET, source="poll", changed_at=0.0)
