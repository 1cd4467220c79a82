"""What the flags of a deployment need of the cohorts of its project."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from proxy.evaluation.cohorts import Target
from proxy.secret import Secret


class Cohorts(Protocol):
    """The cohorts of one project, as who takes in flags sees them."""

    def need(self, deployment: Secret, targets: frozenset[Target]) -> None:
        """Say all that a deployment needs from now on, in place of what was said before."""

    def pending(self, targets: frozenset[Target]) -> frozenset[Target]:
        """Return those worth waiting for: neither here nor given up."""

    def rebuilding(self, targets: frozenset[Target]) -> frozenset[Target]:
        """Return the pending ones that what was kept of them suffices for: nobody is asked."""

    async def settled(self, targets: frozenset[Target]) -> None:
        """Return when none of them is worth waiting for any more."""

    def missing(self, targets: frozenset[Target]) -> dict[Target, str]:
        """Return those that are not here, each with the reason."""

    async def moved(self, targets: frozenset[Target], missing: AbstractSet[Target]) -> None:
        """Return as soon as others of them than those in `missing` are missing."""


def cohort_name(target: Target) -> str:
    """Return how operators read a target."""
    group_type, cohort_id = target
    return cohort_id if group_type == "User" else f"{cohort_id} of {group_type}"


class ProjectCohorts(Cohorts, Protocol):
    """The cohorts of one project, as the whole of sync sees them."""

    @property
    def label(self) -> str:
        """The project's name in logs."""

    async def restore(self) -> None:
        """Put the cohorts of an earlier life on the shelf."""

    async def run(self) -> None:
        """Load what is needed and keep it up to date, for ever."""

    def status(self) -> dict[str, Any]:
        """Return the state of the cohorts, as JSON."""
